"""Waits for tasks by their files and SLURM's queue, and notices those that are lost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from experiments.slurm import queue
from experiments.slurm.queue import TaskState
from experiments.slurm.submissions import QueuedTask
from sympo.pipelines.progress import Screen

# a task without a result that has left the queue this long is lost; a task that is being queued
# again, or whose result a shared file system shows late, only seems so
SECONDS_UNTIL_LOST = 20.0
MOST_SECONDS_BETWEEN_LOOKS = 15.0
GONE = TaskState("", "")


@dataclass
class _Watch:
    """What has been seen of the tasks that have not ended."""

    screen: Screen
    missed: dict[str, float] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    shown: str = ""

    def once(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.screen.line(0, text)

    def show(self, text: str) -> None:
        if text != self.shown:
            self.shown = text
            self.screen.live(0, text)


def wait_for(
    tasks: Sequence[QueuedTask],
    screen: Screen,
    look: Callable[[], Mapping[str, TaskState] | None] = queue.states,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Wait until every task has written its results or is lost; returns why, by task, for the lost.

    A queue that does not answer loses no task: the wait continues until it does.
    """
    watch, left, began = _Watch(screen), {task.id: task for task in tasks}, now()
    lost: dict[str, str] = {}
    while True:
        # the queue first: a task may end between the two looks, and its results come first
        seen = look()
        left = {id: task for id, task in left.items() if task.outcomes() is None}
        if seen is None:
            watch.once("squeue does not answer; still waiting for the tasks")
        else:
            for id in _lost(left, seen, watch.missed, now()):
                lost[id] = _sentence(id, seen.get(id, GONE))
                screen.line(0, f"SLURM task {id} is lost: {lost[id]} ({left[id].log})")
            left = {id: task for id, task in left.items() if id not in lost}
            _tell(left, len(tasks), seen, watch)
        if not left:
            return lost
        sleep(min(MOST_SECONDS_BETWEEN_LOOKS, 1 + (now() - began) / 20))


def _lost(
    left: Mapping[str, QueuedTask],
    seen: Mapping[str, TaskState],
    missed: dict[str, float],
    now: float,
) -> list[str]:
    """The tasks that have been out of the queue for so long that they are lost.

    missed: since when each task has been out of it.
    """
    for id in left:
        state = seen.get(id)
        if state is None or state.ended:
            missed.setdefault(id, now)
        else:
            missed.pop(id, None)
    return [id for id in left if now - missed.get(id, now) >= SECONDS_UNTIL_LOST]


def _sentence(id: str, state: TaskState) -> str:
    how = {
        "": "SLURM no longer lists it",
        "CANCELLED": "it was cancelled",
        "NODE_FAIL": "its node failed",
        "OUT_OF_MEMORY": "it ran out of memory (hydra.launcher.mem_gb)",
        "PREEMPTED": "it was preempted and not queued again",
        "TIMEOUT": "it was killed at its time limit (hydra.launcher.timeout_min)",
    }
    word = state.state.replace("_", " ").lower()
    return how.get(state.state, f"it ended without a result ({word})")


def _tell(
    left: Mapping[str, QueuedTask], of: int, seen: Mapping[str, TaskState], watch: _Watch
) -> None:
    found = {id: seen.get(id, GONE) for id in left}
    for id, state in found.items():
        if state.held:
            watch.once(
                f"SLURM task {id} is held ({state.reason}) and starts once it is released: "
                f"scontrol release {id}"
            )
    waiting = Counter(state.reason for state in found.values() if state.state == "PENDING")
    running = sum(state.state == "RUNNING" for state in found.values())
    reasons = ", ".join(f"{count} pending ({reason})" for reason, count in waiting.items())
    text = f"{of} SLURM tasks: {of - len(left)} ended, {running} running"
    watch.show(f"{text}, {reasons}" if reasons else text)
