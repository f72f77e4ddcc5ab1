"""The signals of SLURM: a checkpoint, then the task ends and is queued again if time was short."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from experiments.slurm.stop_signals import NotQueuedAgain, StopSignals
from sympo.runs import stopping

pytest.importorskip("submitit")
STOPS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGALRM)


class QueuedAgain(Exception):
    pass


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Of a process that submitit has started; what it was asked, and a fresh request to stop."""
    monkeypatch.setattr(stopping, "_asked", threading.Event())
    before, asked = {number: signal.getsignal(number) for number in STOPS}, []

    def queue_again(number: int, frame: object) -> None:
        asked.append(number)
        raise SystemExit(-1)

    signal.signal(signal.SIGUSR2, queue_again)
    yield asked
    for number, handler in before.items():
        signal.signal(number, handler)


def train() -> None:
    """Steps until a checkpoint was asked for."""
    saved = time.monotonic()
    while not stopping.checkpoint_due(saved, 60):
        time.sleep(0.01)
    stopping.stop_if_asked()


def test_before_the_time_limit_a_checkpoint_is_saved_and_the_task_is_queued_again(
    handlers: list[int],
) -> None:
    with pytest.raises(SystemExit), StopSignals(grace=60):
        signal.raise_signal(signal.SIGUSR2)
        assert handlers == []  # not before the checkpoint
        train()
    assert handlers == [signal.SIGUSR2]


def test_without_a_checkpoint_in_time_the_task_is_queued_again_all_the_same(
    handlers: list[int],
) -> None:
    with pytest.raises(SystemExit), StopSignals(grace=0.1):
        signal.raise_signal(signal.SIGUSR2)
        time.sleep(10)  # such as sampling, which has no checkpoints
    assert handlers == [signal.SIGUSR2]


def test_a_cancelled_task_saves_a_checkpoint_and_is_not_queued_again(handlers: list[int]) -> None:
    with pytest.raises(SystemExit) as ended, StopSignals(grace=60):
        signal.raise_signal(signal.SIGTERM)
        train()
    assert handlers == [] and ended.value.code == 128 + signal.SIGTERM


def test_a_task_that_may_not_be_queued_again_says_why() -> None:
    def refuse(number: int, frame: object) -> None:
        raise RuntimeError("timed-out too many times")

    signal.signal(signal.SIGUSR2, refuse)
    with pytest.raises(NotQueuedAgain, match="too many times"), StopSignals(grace=60):
        signal.raise_signal(signal.SIGUSR2)
        train()


def test_work_that_ends_in_time_ends_as_always(handlers: list[int]) -> None:
    with StopSignals(grace=0.05):
        signal.raise_signal(signal.SIGUSR2)
    time.sleep(0.1)
    assert handlers == []
