"""The phases of a sweep, and a watch that reports from inside them and kills there."""

import importlib
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce, wraps
from typing import Any, Literal

# the functions that a phase consists of
PHASES: Mapping[str, tuple[str, ...]] = {
    "start": (
        "experiments.cells:assemble",
        "sympo.pipelines.cell_run:CellRun.take",
        "sympo.pipelines.cell_run:CellRun.start",
    ),
    "stages": ("sympo.runs.stages:Stages._make",),
    "training": (
        "sympo.training.stacked_cells:CellTrainer.train_epoch",
        "sympo.training.stacked_policies:StackedPreferenceTrainer.step",
    ),
    "checkpoint": ("sympo.runs.checkpoints:save", "sympo.runs.checkpoints:load"),
    "sampling": (
        "sympo.pipelines.responses:ResponseEvaluation.of_cells",
        "sympo.pipelines.responses:ResponseEvaluation.write",
    ),
    "summary": ("sympo.runs.folder:RunFolder.finish",),
    "verdicts": ("sympo.judges.judged_runs:judge_run",),
    "analysis": ("experiments.report:_draw",),
}
NAMES = tuple(PHASES)
# of the operations on files that change something, as Python's audit events name them
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")
_MARK = struct.Struct("=ibbd")
COUNTED = 2
Unit = Literal["call", "operation"]


@dataclass(frozen=True)
class Mark:
    """A process entered (+1) or left (-1) a phase, or changes a file in it (0), at a moment in
    seconds; or it counted (2) so many function calls in it."""

    process: int
    phase: str
    step: int
    at: float


def marks(content: bytes) -> list[Mark]:
    """The marks in what a watch has written."""
    whole = len(content) - len(content) % _MARK.size
    return [
        Mark(process, NAMES[phase], step, at)
        for process, phase, step, at in _MARK.iter_unpack(content[:whole])
    ]


def inside(found: list[Mark], phase: str) -> set[int]:
    """The processes that entered a phase and did not leave it."""
    depth: dict[int, int] = {}
    for mark in found:
        if mark.phase == phase and mark.step != COUNTED:
            depth[mark.process] = depth.get(mark.process, 0) + mark.step
    return {process for process, steps in depth.items() if steps > 0}


class Watch:
    """Wraps the functions of all phases in this process and in those that it forks.

    pipe: the descriptor that marks are written to. trigger: when to kill, if at all. counts:
    whether to count function calls, which is slow.
    """

    def __init__(self, pipe: int, trigger: "Trigger | None" = None, counts: bool = False) -> None:
        self.counts = counts
        self.pipe, self.trigger, self.first = pipe, trigger, os.getpid()
        self.left = 0 if trigger is None else trigger.number
        self.calls = 0
        self.depth = dict.fromkeys(NAMES, 0)
        for name, functions in PHASES.items():
            for function in functions:
                self._wrap(name, function)
        sys.addaudithook(self._audit)
        sync = os.fsync
        os.fsync = lambda descriptor: (self._operation(), sync(descriptor))[1]  # type: ignore[assignment]

    def _wrap(self, phase: str, function: str) -> None:
        module, _, path = function.partition(":")
        *parents, name = path.split(".")
        owner: Any = reduce(getattr, parents, importlib.import_module(module))
        real = getattr(owner, name)

        @wraps(real)
        def watched(*arguments: Any, **more: Any) -> Any:
            self._mark(phase, 1)
            try:
                return real(*arguments, **more)
            finally:
                self._mark(phase, -1)

        setattr(owner, name, watched)

    def _mark(self, phase: str, step: int) -> None:
        self.depth[phase] += step
        if self.depth[phase] != max(step, 0):  # not the outermost call
            return
        of_trigger = self.trigger and (self.trigger.phase, self.trigger.unit) == (phase, "call")
        mine = self.counts or of_trigger
        if step == -1 and mine:
            sys.setprofile(None)
            self._write(phase, COUNTED, self.calls)
        self._write(phase, step, time.monotonic())
        if step == 1:
            self._operation()
        if step == 1 and mine:
            self.calls = 0
            sys.setprofile(self._profile)

    def _write(self, phase: str, step: int, value: float) -> None:
        os.write(self.pipe, _MARK.pack(os.getpid(), NAMES.index(phase), step, value))

    def _profile(self, frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
            if self.trigger:
                self._count_down()

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if event in _CHANGES or (event == "open" and arguments[2] & writes):
            self._operation()

    def _operation(self) -> None:
        for phase in [phase for phase, depth in self.depth.items() if depth]:
            self._write(phase, 0, time.monotonic())
            if self.trigger and (self.trigger.unit, self.trigger.phase) == ("operation", phase):
                self._count_down()

    def _count_down(self) -> None:
        assert self.trigger is not None
        if os.getpid() != self.first or not self.trigger.in_workers:
            self.left -= 1
            if not self.left:
                self.trigger.kill(self.first)


@dataclass(frozen=True)
class Trigger:
    """Kills inside a phase at the function call, or the operation on a file, of this number; the
    first operation is to enter the phase.

    kill: is called with the number of the first process. in_workers: whether to count in the
    processes that it started, instead of in itself.
    """

    phase: str
    unit: Unit
    number: int
    kill: Callable[[int], None]
    in_workers: bool = False


def count(found: list[Mark], phase: str, unit: Unit) -> int:
    """How many of a trigger's units the marks have in a phase."""
    of_phase = [mark for mark in found if mark.phase == phase]
    if unit == "operation":
        return sum(mark.step == 0 for mark in of_phase)
    return int(sum(mark.at for mark in of_phase if mark.step == COUNTED))
