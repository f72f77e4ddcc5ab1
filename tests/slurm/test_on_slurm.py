"""A real SLURM on this machine: nothing is lost, and the numbers are those of a local run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.nine_cells import SWEEP, cells_csv, local, nine_cells, out_of_time
from tests.slurm.one_node_slurm import OneNodeSlurm, lacking

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]


@pytest.fixture(scope="module")
def real_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNodeSlurm]:
    with OneNodeSlurm(tmp_path_factory.mktemp("slurm") / "files") as slurm:
        yield slurm


def test_a_disturbed_sweep_is_completed_by_its_command(
    real_slurm: OneNodeSlurm, tmp_path: Path
) -> None:
    happened = nine_cells(real_slurm, tmp_path / "results")
    interrupted, disturbed, completed = happened.texts
    assert happened.codes == [130, 1, 0]
    assert "the tasks stay in SLURM's queue" in interrupted
    # those that were complete when the command was repeated, and one that was killed
    counted = re.search(r"9 cells: (\d) run, (\d) already complete, 1 failed", disturbed)
    assert counted is not None and int(counted[1]) + int(counted[2]) == 8
    assert f"already in the queue: {9 - int(counted[2])} cells" in disturbed
    assert "SLURM job 2: " not in disturbed  # none was submitted twice
    assert "latest/accuracy_vs_noise.png" in disturbed  # the report of the eight
    assert disturbed.count("was lost: it was cancelled") == 1
    assert "9 cells: 1 run, 8 already complete, 0 failed" in completed
    assert cells_csv(tmp_path / "results") == local(tmp_path / "local", SWEEP)


def test_a_cell_longer_than_its_time_limit_resumes(
    real_slurm: OneNodeSlurm, tmp_path: Path
) -> None:
    happened = out_of_time(real_slurm, tmp_path / "results")
    assert happened.codes == [0]
    output, log = happened.texts
    assert "1 cell: 1 run, 0 already complete, 0 failed" in output
    assert "SIGUSR2: stops at its next checkpoint" in log and "resumes from epoch" in log
    assert cells_csv(tmp_path / "results") == local(tmp_path / "local", happened.command)
