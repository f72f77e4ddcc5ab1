"""A real SLURM on this machine: nothing is lost, and the numbers are those of a local run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.distributed.same_runs import CELL, by_one_process, check_same_cell
from tests.helpers.commands import cells
from tests.slurm.nine_cells import PATIENCE, SWEEP, cells_csv, local, nine_cells, out_of_time
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


def test_two_processes_of_srun_train_a_policy_as_one(
    real_slurm: OneNodeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.run(
        ["srun", "--ntasks", "2", "--kill-on-bad-exit=1", sys.executable, "run.py", *CELL,
         f"results_dir={tmp_path / 'two'}"],
        cwd=ROOT, env=os.environ | real_slurm.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("at the last epoch") == 1  # one of the two reports
    (together,) = cells(tmp_path / "two").values()
    check_same_cell(together, by_one_process(tmp_path / "one", monkeypatch))
