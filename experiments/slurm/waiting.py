"""Waits for tasks by their files and SLURM's queue, and notices those that are lost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from experiments.slurm import queue
from experiments.slurm.queue import TaskState
from experiments.slurm.submissions import QueuedTask
from sympo.pipelines.progress import Screen

# a task without a result that has left the queue this long is lost; a task that is being queued
# again, or whose result NFS shows late (it remembers a missing file for up to 60 s), only seems so
SECONDS_UNTIL_LOST = 65.0
MOST_SECONDS_BETWEEN_LOOKS = 30.0
HOW_LOST = {
    "": "SLURM no longer lists it",
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it ran out of memory (hydra.launcher.mem_gb)",
    "PREEMPTED": "it was preempted and not queued again",
    "TIMEOUT": "it was killed at its time limit (hydra.launcher.timeout_min)",
}
GONE = TaskState("", "")


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
    watch, began = _Watch(tasks, screen), now()
    while watch.left:
        # the queue first: a task that ends between the two looks has written its results before
        watch.see(look(), now())
        if watch.left:
            sleep(min(MOST_SECONDS_BETWEEN_LOOKS, 1 + (now() - began) / 20))
    return watch.lost


class _Watch:
    """The tasks that have not ended, and why others were lost."""

    def __init__(self, tasks: Sequence[QueuedTask], screen: Screen) -> None:
        self.left, self.of, self.screen = {task.id: task for task in tasks}, len(tasks), screen
        self.lost: dict[str, str] = {}
        self._states: dict[str, TaskState] = {}  # the last that SLURM has shown
        self._missed: dict[str, float] = {}  # since when a task is out of the queue
        self._said: set[str] = set()

    def see(self, seen: Mapping[str, TaskState] | None, now: float) -> None:
        """Take in one look at the queue; None if it does not answer."""
        self.left = {id: task for id, task in self.left.items() if not self._ended(task)}
        if seen is None:
            self._once("squeue does not answer; still waiting for the tasks")
            return
        self._states |= seen
        for id in list(self.left):
            if id in seen and not seen[id].ended:
                self._missed.pop(id, None)
            elif now - self._missed.setdefault(id, now) >= SECONDS_UNTIL_LOST:
                self._lose(id)
        if self.left:
            self._tell({id: seen.get(id, GONE) for id in self.left})

    def _ended(self, task: QueuedTask) -> bool:
        """Whether a task has written its results; shows them if it has."""
        found = task.outcomes()
        for one in found or ():
            self.screen.line(
                0, f"{one.cell}  {one.status} {one.error}".rstrip() + f"  (SLURM task {task.id})"
            )
        return found is not None

    def _lose(self, id: str) -> None:
        state = self._states.get(id, GONE).state
        otherwise = f"it ended without a result ({state.replace('_', ' ').lower()})"
        # one that was seen running, and not since, has left no state
        known = state if state == "" or TaskState(state, "").ended else ""
        self.lost[id] = HOW_LOST.get(known, otherwise)
        self.screen.line(0, f"SLURM task {id} is lost: {self.lost[id]} ({self.left.pop(id).log})")

    def _tell(self, found: Mapping[str, TaskState]) -> None:
        for id, state in found.items():
            job = id.partition("_")[0]
            if state.held:
                self._once(
                    f"SLURM task {id} is held ({state.reason}) and starts once it is released: "
                    f"scontrol release {id}"
                )
            elif state.stuck:
                self._once(
                    f"SLURM job {job} cannot start now: {state.reason}; if another setting of "
                    f"hydra.launcher helps, scancel {job} and run the command again with it"
                )
        waiting = Counter(state.reason for state in found.values() if state.state == "PENDING")
        running = sum(state.state == "RUNNING" for state in found.values())
        reasons = "".join(f", {count} pending ({reason})" for reason, count in waiting.items())
        ended = self.of - len(found)
        self.screen.live(0, f"SLURM tasks: {ended}/{self.of} ended, {running} running{reasons}")

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.screen.line(0, text)
