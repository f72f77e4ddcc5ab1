"""Kills sweeps inside every phase, finishes them with the same command, and counts what was lost.

    python -m tests.faults.kills [--tries 6] [--phases start,summary] [--short] [--out FOLDER]

A phase is hit if the process was seen to enter it and not to leave it. `--tries` of each kind in
each phase: just before an operation on a file, at a function call, and from outside at a random
moment; where there are workers, also of one of them, and of their parent. Writes FOLDER/kills.csv,
where rows of other phases stay. Exits with 1 if a cell was lost, a number changed, or a worker
outlived its parent by a second.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from io import StringIO
from pathlib import Path

from experiments import batches
from sympo.analysis import figures
from sympo.pipelines import image_reward_model
from tests.faults.forks import Fork, ForkedWorker, fork, group_of
from tests.faults.phases import NAMES, Mark, Trigger, Unit, count, inside
from tests.faults.sweeps import DIGITS, REPORTED, POLICIES, Sweep, cells, content, differing

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
SECONDS_TO_END = 1.0


@dataclass
class Row:
    """A kind of fault in a phase: how many tries, how many hit inside it, the cells that were lost
    afterwards and the files that differed. slowest: seconds until the last process was gone."""

    fault: str
    phase: str
    tries: int = 0
    hit: int = 0
    lost: int = 0
    wrong: int = 0
    slowest: float | None = None


class Kills:
    """Tries in a temporary folder, compared with undisturbed sweeps."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw, self.number = folder, random.Random(seed), 0
        self.undisturbed: dict[Sweep, Path] = {}
        self.marks: dict[Sweep, list[Mark]] = {}

    def know(self, sweep: Sweep) -> None:
        """Run a sweep undisturbed: once here, which imports everything, once forked and watched."""
        if sweep in self.undisturbed:
            return
        place = self.folder / f"undisturbed-{len(self.undisturbed)}"
        with redirect_stdout(StringIO()):
            assert sweep.run(place / "here") == 0
        watched = fork(lambda: sweep.run(place / "forked"), place / "log", counts=True)
        assert watched.end() == 0, (place / "log").read_text()
        found = [content(place / name) for name in ("here", "forked")]
        assert not differing(*found), differing(*found)
        self.undisturbed[sweep], self.marks[sweep] = place / "here", watched.marks

    def at_moments(self, phase: str, tries: int) -> Row:
        """Kill the whole group at random moments inside a phase."""
        row = Row("all processes killed at a random moment", phase)
        for sweep in self._alternating(phase, tries):
            results = self._started(sweep, phase)
            child = fork(partial(sweep.run, results), self._log)
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
                # a worker has half the units, and differs somewhat
                units = -(-count(self.marks[sweep], row.phase, unit) // processes)
                units = max(1, units * 9 // 10) if processes > 1 else units
                left[sweep] = self.draw.sample(range(1, units + 1), min(units, tries))
            trigger = Trigger(row.phase, unit, left[sweep].pop(), kill, in_workers=processes > 1)
            shared, results = replace(sweep, processes=processes), self._started(sweep, row.phase)
            child = fork(partial(shared.run, results), self._log, trigger)
            if row.slowest is not None:
                row.slowest = max(row.slowest, _seconds_until_gone(child))
            self._finish(row, shared, results, child)
        return row

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.number}.log"

    def _alternating(self, phase: str, tries: int) -> Iterator[Sweep]:
        for number in range(tries):
            sweep = SWEEPS[phase][number % len(SWEEPS[phase])]
            self.know(sweep)
            yield sweep

    def _started(self, sweep: Sweep, phase: str) -> Path:
        """A new results folder, with what a sweep leaves before the phase."""
        self.number += 1
        results = self.folder / str(self.number)
        results.mkdir()
        later = shutil.ignore_patterns(*AFTER.get(phase, ()))
        for name in BEFORE.get(phase, ()):
            if (there := self.undisturbed[sweep] / name).is_dir():
                shutil.copytree(there, results / name, ignore=later)
        return results

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
        again = fork(partial(sweep.run, results), self._log)
        code, undisturbed = again.end(), self.undisturbed[replace(sweep, processes=1)]
        row.lost += len(set(cells(undisturbed)) - set(cells(results))) + (code != 0)
        if different := differing(content(undisturbed), content(results)):
            print(f"{row}: {results} differs in {different}", file=sys.stderr)
        row.wrong += len(different)
        if code or different:
            print(self._log.read_text(), file=sys.stderr)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=6)
    parser.add_argument("--phases", default=",".join(NAMES))
    parser.add_argument("--short", action="store_true", help="one try of one kind in each phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_rows(Kills(Path(folder), options.seed), options))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write(options.out / "kills.csv", rows)
    late = any(row.slowest is not None and row.slowest > SECONDS_TO_END for row in rows)
    return int(late or any(row.lost or row.wrong for row in rows))


def write(file: Path, rows: list[Row]) -> None:
    """Write rows to a table, in place of earlier ones of their phases."""
    made = [{k: "" if v is None else v for k, v in asdict(row).items()} for row in rows]
    if file.exists():
        with file.open() as before:
            phases = {row.phase for row in rows}
            made = [row for row in csv.DictReader(before) if row["phase"] not in phases] + made
    made.sort(key=lambda row: NAMES.index(str(row["phase"])))
    with file.open("w") as opened:
        table = csv.DictWriter(opened, [field.name for field in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(made)


def _rows(kills: Kills, options: argparse.Namespace) -> Iterator[Row]:
    image_reward_model.SECONDS_BETWEEN_CHECKPOINTS = 0
    batches.start_worker = ForkedWorker  # type: ignore[assignment, misc]
    del figures.FIGURES[1:]  # drawing takes most of the time of so small a sweep
    for phase in options.phases.split(","):
        yield _said(kills.at_operations(phase, options.tries))
        if options.short:
            continue
        yield _said(kills.at_calls(phase, options.tries))
        if phase in LONG:
            yield _said(kills.at_moments(phase, options.tries))
        if phase in OF_WORKERS:
            yield _said(kills.workers(phase, options.tries))
            yield _said(kills.parents(phase, options.tries))


def _said(row: Row) -> Row:
    print(row, file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
