"""Kills sweeps inside every phase and completes them with the same command.

A phase is hit if the process was seen to enter it and not to leave it.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.faults.forks import Fork, fork, group_of
from tests.faults.phases import Mark, Trigger, Unit, count, inside
from tests.faults.sweeps import DIGITS, POLICIES, REPORTED, Sweep, cells, content, differing
from tests.faults.trials import Row, Trials

# the sweeps that have a phase; a policy takes three times as long as a reward model
_BOTH = (POLICIES, DIGITS, DIGITS)
SWEEPS: dict[str, tuple[Sweep, ...]] = {
    "start": _BOTH,
    "stages": (POLICIES,),
    "training": _BOTH,
    "checkpoint": _BOTH,
    "sampling": (POLICIES,),
    "summary": _BOTH,
    "verdicts": (POLICIES,),
    "analysis": (REPORTED,),
}
# what a sweep has left before a phase, which a try starts from to save time; nothing by default
BEFORE: dict[str, tuple[str, ...]] = {
    "training": ("stages",),
    "checkpoint": ("stages",),
    "sampling": ("stages",),
    "verdicts": ("runs", "stages"),
    "analysis": ("runs", "stages"),
}
# but not this
AFTER: dict[str, tuple[str, ...]] = {"verdicts": ("judges", "verdicts.sqlite*")}
# long enough for a kill from outside
LONG = ("stages", "training", "sampling", "verdicts", "analysis")
OF_WORKERS = ("start", "training", "checkpoint", "summary")


class Kills(Trials):
    """Kills, each followed by the same command."""

    def at_moments(self, phase: str, tries: int) -> Row:
        """Kill the whole group at random moments inside a phase."""
        row = Row("all processes killed at a random moment", phase)
        for sweep in self._alternating(phase, tries):
            results = self._started(sweep, phase)
            child = fork(partial(sweep.run, results), self.log)
            if self._wait_inside(child, sweep, phase):
                child.kill_group()
            self._finish(row, sweep, results, child)
        return row

    def at_operations(self, phase: str, tries: int) -> Row:
        """Kill the whole group just before operations on files inside a phase."""
        row = Row("all processes killed before a file operation", phase)
        return self._triggered(row, "operation", tries, 1, _kill_group)

    def at_calls(self, phase: str, tries: int) -> Row:
        """Kill the whole group at function calls inside a phase."""
        row = Row("all processes killed at a function call", phase)
        return self._triggered(row, "call", tries, 1, _kill_group)

    def workers(self, phase: str, tries: int) -> Row:
        """Kill one of two workers inside a phase."""
        row = Row("one of two workers killed", phase)
        return self._triggered(row, "call", tries, 2, _kill_self)

    def parents(self, phase: str, tries: int) -> Row:
        """Kill the process that started two workers while one is inside a phase."""
        row = Row("the parent of two workers killed", phase, slowest=0.0)
        return self._triggered(row, "call", tries, 2, _kill_parent)

    def _triggered(
        self, row: Row, unit: Unit, tries: int, processes: int, kill: Callable[[int], None]
    ) -> Row:
        left: dict[Sweep, list[int]] = {}
        for sweep in self._alternating(row.phase, tries):
            if not left.get(sweep):
                left[sweep] = self._numbers(sweep, row.phase, unit, tries, processes)
            trigger = Trigger(row.phase, unit, left[sweep].pop(), kill, in_workers=processes > 1)
            shared, results = replace(sweep, processes=processes), self._started(sweep, row.phase)
            child = fork(partial(shared.run, results), self.log, trigger)
            if row.slowest is not None:
                row.slowest = max(row.slowest, _seconds_until_gone(child))
            self._finish(row, shared, results, child)
        return row

    def _numbers(
        self, sweep: Sweep, phase: str, unit: Unit, tries: int, processes: int
    ) -> list[int]:
        """Different numbers of calls or operations in a phase."""
        if self.short:
            return [1 if phase == "training" else 3]  # training changes no file
        units = count(self.marks[sweep], phase, unit)
        if processes > 1:  # a worker has half of them, somewhat fewer if it is the second
            units = max(1, units * 9 // 10 // processes)
        return self.draw.sample(range(1, units + 1), min(units, tries))

    def _alternating(self, phase: str, tries: int) -> Iterator[Sweep]:
        for number in range(tries):
            sweep = SWEEPS[phase][number % len(SWEEPS[phase])]
            self.know(sweep)
            yield sweep

    def _started(self, sweep: Sweep, phase: str) -> Path:
        return self.started(sweep, BEFORE.get(phase, ()), AFTER.get(phase, ()))

    def _wait_inside(self, child: Fork, sweep: Sweep, phase: str) -> bool:
        """Wait for a random call of the phase, and a random part of the time that it takes."""
        entered = [m.at for m in self.marks[sweep] if m.phase == phase and m.step == 1]
        left = [m.at for m in self.marks[sweep] if m.phase == phase and m.step == -1]
        number = self.draw.randrange(len(entered))
        seconds = self.draw.uniform(0, left[number] - entered[number])

        def reached(marks: list[Mark]) -> bool:
            return sum(m.phase == phase and m.step == 1 for m in marks) > number

        there = child.wait_for(reached)
        time.sleep(seconds)
        return there

    def _finish(self, row: Row, sweep: Sweep, results: Path, child: Fork) -> None:
        child.end()
        row.tries += 1
        row.hit += bool(inside([m for m in child.marks if m.at <= child.killed], row.phase))
        again = fork(partial(sweep.run, results), self.log)
        code, alone = again.end(), replace(sweep, processes=1)
        row.lost += len(set(cells(self.undisturbed[alone])) - set(cells(results))) + (code != 0)
        if different := differing(self.known[alone], content(results)):
            print(f"{row}: {results} differs in {different}", file=sys.stderr)
        row.wrong += len(different)
        if code or different:
            print(self.log.read_text(), file=sys.stderr)
        else:
            shutil.rmtree(results)


def _kill_group(first: int) -> None:
    os.killpg(first, signal.SIGKILL)


def _kill_self(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_parent(parent: int) -> None:
    with suppress(ProcessLookupError):  # the other worker may have been faster
        os.kill(parent, signal.SIGKILL)
    time.sleep(60)  # inside the phase, until this process ends with its parent


def _seconds_until_gone(child: Fork) -> float:
    """Wait until the first process is gone, then its workers; the seconds between."""
    os.waitid(os.P_PID, child.process, os.WEXITED | os.WNOWAIT)
    child.killed = time.monotonic()
    while any(process != child.process for process in group_of(child.process)):
        assert time.monotonic() - child.killed < 60, "workers outlive their parent"
        time.sleep(0.001)
    return time.monotonic() - child.killed


def rows(kills: Kills, phases: Sequence[str], tries: int, short: bool) -> Iterator[Row]:
    """The rows of kills in phases."""
    for phase in phases:
        yield kills.at_operations(phase, tries)
        if short:
            continue
        yield kills.at_calls(phase, tries)
        if phase in LONG:
            yield kills.at_moments(phase, tries)
        if phase in OF_WORKERS:
            yield kills.workers(phase, tries)
            yield kills.parents(phase, tries)
