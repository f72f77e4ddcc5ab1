"""A sweep as arrays: what is submitted, what is waited for, and what a lost task costs."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig

from experiments.cells import Planned, prepare
from experiments.slurm import array_sweep, queue
from experiments.slurm.array_task import ArrayTask
from experiments.slurm.sbatch import SlurmSettings
from experiments.slurm.submissions import QueuedTask, submissions
from sympo.pipelines.progress import Screen
from sympo.pipelines.result import RunResult
from tests.experiments.test_batches import Lines
from tests.helpers.commands import SMALL_IMAGES
from tests.helpers.configs import composed
from tests.slurm.fake_slurm import FakeSlurm

pytest.importorskip("submitit")


class Cluster:
    """Runs tasks in this process when a sweep waits for them, but for those that it loses."""

    def __init__(self, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slurm, self.ran, self.loses = slurm, list[str](), set[str]()
        self.interrupts = False
        monkeypatch.setattr(array_sweep, "wait_for", self._wait)

    def _wait(self, tasks: Sequence[QueuedTask], screen: Screen) -> dict[str, str]:
        if self.interrupts:
            raise KeyboardInterrupt
        lost = {}
        for task in tasks:
            if task.id in self.loses:
                lost[task.id] = "it was cancelled"
            else:
                self.ran.append(task.id)
                ArrayTask(str(task.submission.folder), task.number, 60)()
        return lost


@pytest.fixture
def cluster(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(slurm, monkeypatch)


@cache
def composed_once() -> tuple[DictConfig, DictConfig]:
    return composed(*SMALL_IMAGES, "job.epochs=1", "threads=1", "wandb.mode=disabled")


def cells(folder: Path) -> list[Planned]:
    """Three cells that can be trained together."""
    found = []
    for seed in range(3):
        config, choices = deepcopy(composed_once())
        config.seed, config.results_dir = seed, str(folder)
        found.append(Planned(prepare(config, choices), dict(choices)))
    return found


def statuses(found: Sequence[RunResult]) -> list[str]:
    return [one.status for one in found]


def test_a_lost_task_fails_its_cell_and_the_same_command_runs_only_that(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.loses = {"12_1"}
    found = array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(), Lines())
    assert statuses(found) == ["complete", "failed", "complete"]
    assert found[1].error == (
        "SLURM task 12_1 was lost: it was cancelled; the same command runs the cell again"
    )
    assert found[1].log is not None and found[1].log.name == "12_1_0_log.out"

    cluster.slurm.answers("sbatch", "Submitted batch job 13")
    cluster.slurm.answers("squeue", "12|1|CANCELLED|None")
    found = array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(), Lines())
    assert statuses(found) == ["skipped", "complete", "skipped"]
    assert cluster.ran == ["12_0", "12_2", "13"]


def test_cells_in_the_queue_are_waited_for_and_not_submitted_again(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        array_sweep.run_as_arrays(cells(tmp_path)[:2], SlurmSettings(), Lines())
    assert "the tasks stay in SLURM's queue (SLURM job 12)" in capsys.readouterr().err

    cluster.interrupts = False
    cluster.slurm.answers("sbatch", "Submitted batch job 13")
    cluster.slurm.answers("squeue", "12|0|PENDING|Priority\n12|1|RUNNING|None")
    screen = Lines()
    found = array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(), screen)
    assert statuses(found) == ["complete"] * 3
    assert cluster.ran == ["12_0", "12_1", "13"]
    assert "already in the queue: 2 cells (SLURM job 12)" in screen.said


def test_cells_that_can_be_trained_together_share_a_task(cluster: Cluster, tmp_path: Path) -> None:
    found = array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(cells_per_task=2), Lines())
    assert statuses(found) == ["complete"] * 3 and cluster.ran == ["12_0", "12_1"]
    (submission,) = submissions(tmp_path)
    assert [len(task.cells) for task in submission.tasks()] == [1, 2]


def test_complete_cells_need_no_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(), Lines())
    monkeypatch.setattr(queue, "states", pytest.fail)
    found = array_sweep.run_as_arrays(cells(tmp_path), SlurmSettings(), Lines())
    assert statuses(found) == ["skipped"] * 3


def test_a_cell_that_changed_in_the_queue_is_not_run(cluster: Cluster, tmp_path: Path) -> None:
    cluster.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        array_sweep.run_as_arrays(cells(tmp_path)[:1], SlurmSettings(), Lines())
    (submission,) = submissions(tmp_path)
    file = submission.folder / "cells.json"
    file.write_text(file.read_text().replace('"epochs": 1,', '"epochs": 2,'))
    (task,) = submission.tasks()
    ArrayTask(str(submission.folder), task.number, 60)()
    (result,) = task.outcomes() or []
    assert result.status == "failed" and "changed after it was submitted" in result.error
