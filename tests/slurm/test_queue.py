"""SLURM's queue, read from squeue's answer."""

import pytest

from experiments.slurm import queue
from experiments.slurm.queue import TaskState
from tests.slurm.fake_slurm import FakeSlurm


def test_tasks_are_read_by_their_number(slurm: FakeSlurm) -> None:
    slurm.answers(
        "squeue",
        "12|0|RUNNING|None\n12|1|PENDING|Resources\n13|N/A|CANCELLED|None\n"
        "14|3|PENDING|Nodes required for job are DOWN, DRAINED or reserved",
    )
    found = queue.states()
    assert found is not None
    assert found["12_0"] == TaskState("RUNNING", "None")
    assert found["12_1"] == TaskState("PENDING", "Resources")
    assert found["13"].ended and not found["12_1"].ended and not found["12_1"].stuck
    assert found["14_3"].stuck


def test_a_queue_that_does_not_answer_is_not_an_empty_one(slurm: FakeSlurm) -> None:
    assert queue.states() == {}
    slurm.answers("squeue", "slurm_load_jobs error: Unable to contact slurm controller", code=1)
    assert queue.states() is None


@pytest.mark.parametrize(
    ("state", "reason", "held", "stuck"),
    [
        ("PENDING", "Priority", False, False),
        ("PENDING", "JobArrayTaskLimit", False, False),
        ("PENDING", "PartitionTimeLimit", False, True),
        ("PENDING", "QOSMaxJobsPerUserLimit", False, False),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", False, True),
        ("PENDING", "launch failed requeued held", True, False),
        ("PENDING", "JobHeldUser", True, False),
        ("RUNNING", "PartitionTimeLimit", False, False),
    ],
)
def test_what_waits_for_a_person_is_known(state: str, reason: str, held: bool, stuck: bool) -> None:
    found = TaskState(state, reason)
    assert (found.held, found.stuck) == (held, stuck)
