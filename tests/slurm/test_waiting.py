"""Waiting for tasks: results, lost tasks, tasks queued again, a queue that does not answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from experiments.slurm.queue import TaskState
from experiments.slurm.submissions import QueuedTask, Submission, SubmittedCell
from experiments.slurm.waiting import wait_for
from sympo.pipelines.result import RunResult
from tests.experiments.test_batches import Lines

RUNS, WAITS = TaskState("RUNNING", "None"), TaskState("PENDING", "Resources")
Look = Mapping[str, TaskState] | None


class Cluster:
    """Two tasks, and one look at the queue after another; a second passes in each wait or more."""

    def __init__(self, folder: Path, looks: Sequence[Look]) -> None:
        (folder / "outcomes").mkdir(parents=True)
        self.submission, self.looks, self.time = Submission(folder), list(looks), 0.0
        self.ends: dict[int, int] = {}
        self.screen = Lines()

    def wait(self) -> dict[str, str]:
        cell = SubmittedCell("a cell", "/runs/a", {"judge": None}, {})
        tasks = [QueuedTask(f"7_{n}", self.submission, n, (cell,)) for n in range(2)]
        return wait_for(tasks, self.screen, self._look, self._sleep, lambda: self.time)

    def _look(self) -> Look:
        number = len(self.looks)
        for task, left in self.ends.items():
            if number == left:
                done = RunResult("a cell", Path("/runs/a"), "complete")
                self.submission.write_outcomes(task, [done])
        return self.looks.pop(0)

    def _sleep(self, seconds: float) -> None:
        self.time += max(seconds, 33)


def test_tasks_end_when_they_have_written_their_results(tmp_path: Path) -> None:
    both = {"7_0": RUNS, "7_1": RUNS}
    cluster = Cluster(tmp_path, [both, both, both])
    cluster.ends = {0: 2, 1: 1}
    assert cluster.wait() == {} and not cluster.looks
    assert [line for line in cluster.screen.said if "complete" in line] == [
        "a cell  complete  (SLURM task 7_0)",
        "a cell  complete  (SLURM task 7_1)",
    ]


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ({"7_1": TaskState("CANCELLED", "None")}, "it was cancelled"),
        ({"7_1": TaskState("FAILED", "NonZeroExitCode")}, "it ended without a result (failed)"),
        ({}, "SLURM no longer lists it"),
    ],
)
def test_a_task_that_left_the_queue_without_results_is_lost(
    tmp_path: Path, last: Look, sentence: str
) -> None:
    cluster = Cluster(tmp_path, [{"7_0": RUNS, "7_1": RUNS}, last, last, last])
    cluster.ends = {0: 3}
    assert cluster.wait() == {"7_1": sentence}
    assert any(
        line == f"SLURM task 7_1 is lost: {sentence} ({tmp_path}/7_1_0_log.out)"
        for line in cluster.screen.said
    )


def test_a_task_keeps_its_last_state_after_the_controller_forgot_it(tmp_path: Path) -> None:
    cancelled = {"7_1": TaskState("CANCELLED", "None")}
    cluster = Cluster(tmp_path, [cancelled, {}, {}, {}])
    cluster.ends = {0: 4}
    assert cluster.wait() == {"7_1": "it was cancelled"}


def test_a_task_that_is_queued_again_is_not_lost(tmp_path: Path) -> None:
    ended, again = {"7_1": TaskState("PREEMPTED", "None")}, {"7_1": WAITS}
    cluster = Cluster(tmp_path, [ended, ended, again, again, again, {}, {}])
    cluster.ends = {0: 7, 1: 1}
    assert cluster.wait() == {}


def test_a_queue_that_does_not_answer_loses_no_task(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, [None] * 9)
    cluster.ends = {0: 9, 1: 1}
    assert cluster.wait() == {}
    assert cluster.screen.said.count("squeue does not answer; still waiting for the tasks") == 1


def test_tasks_that_wait_for_a_person_are_named(tmp_path: Path) -> None:
    looks: list[Look] = [
        {"7_0": TaskState("PENDING", "JobHeldUser"), "7_1": TaskState("PENDING", "InvalidQOS")}
    ] * 3
    cluster = Cluster(tmp_path, looks)
    cluster.ends = {0: 1, 1: 1}
    cluster.wait()
    said = "\n".join(cluster.screen.said)
    assert said.count("scontrol release 7_0") == 1
    assert said.count("SLURM job 7 cannot start now: InvalidQOS") == 1
