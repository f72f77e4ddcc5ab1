"""Trials: faults in sweeps that are compared with undisturbed ones, and the table of them."""

import csv
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from experiments import batches
from sympo.analysis import figures
from sympo.pipelines import image_reward_model
from tests.faults.forks import ForkedWorker, fork
from tests.faults.phases import Mark
from tests.faults.sweeps import Sweep, content, differing

FILE = "faults.csv"
# of workers after the death of their parent
SECONDS_AT_MOST = 1.0


@dataclass
class Row:
    """A kind of fault.

    phase: where it strikes: a phase, or what is damaged. hit: tries that were seen to strike there.
    lost: cells that were missing after the sweep was completed. wrong: files that differed from
    those of an undisturbed sweep. slowest: seconds until the last process ran no more.
    """

    fault: str
    phase: str
    tries: int = 0
    hit: int = 0
    lost: int = 0
    wrong: int = 0
    slowest: float | None = None

    @property
    def failed(self) -> bool:
        late = self.slowest is not None and self.slowest > SECONDS_AT_MOST
        return late or bool(self.lost or self.wrong)


class Trials:
    """Tries in a temporary folder, each with results of its own. short: leaves out the undisturbed
    forked run, without which only the first operations of a phase are known."""

    def __init__(self, folder: Path, seed: int, short: bool) -> None:
        self.short = short
        self.folder, self.draw, self.number = folder, random.Random(seed), 0
        self.undisturbed: dict[Sweep, Path] = {}
        self.known: dict[Sweep, dict[str, Any]] = {}
        self.marks: dict[Sweep, list[Mark]] = {}

    def know(self, sweep: Sweep) -> None:
        """Run a sweep undisturbed: once here, which imports everything, once forked and watched."""
        if sweep in self.undisturbed:
            return
        place = self.folder / f"undisturbed-{len(self.undisturbed)}"
        with redirect_stdout(StringIO()):
            assert sweep.run(place / "here") == 0
        self.undisturbed[sweep], self.marks[sweep] = place / "here", []
        self.known[sweep] = content(place / "here")
        if self.short:
            return
        watched = fork(partial(sweep.run, place / "forked"), place / "log", counts=True)
        assert watched.end() == 0, (place / "log").read_text()
        different = differing(self.known[sweep], content(place / "forked"))
        assert not different, different
        self.marks[sweep] = watched.marks

    @property
    def log(self) -> Path:
        return self.folder / f"{self.number}.log"

    def started(self, sweep: Sweep, before: Sequence[str] = (), later: Sequence[str] = ()) -> Path:
        """A new results folder. before: the folders of an undisturbed sweep to start from; later:
        patterns of what to leave out of them."""
        self.know(sweep)
        self.number += 1
        results = self.folder / str(self.number)
        results.mkdir()
        ignored = shutil.ignore_patterns(*later)
        for name in before:
            if (there := self.undisturbed[sweep] / name).is_dir():
                shutil.copytree(there, results / name, ignore=ignored)
        return results


def run_program(trials: Callable[[Path], Iterable[Row]], out: Path | None) -> int:
    """Make trials in a temporary folder and write their table; returns an exit code."""
    image_reward_model.SECONDS_BETWEEN_CHECKPOINTS = 0
    batches.start_worker = ForkedWorker  # type: ignore[assignment, misc]
    del figures.FIGURES[1:]  # drawing takes most of the time of so small a sweep
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for other users
        for row in trials(Path(folder)):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                write(out / FILE, rows)
    return int(any(row.failed for row in rows))


def write(file: Path, rows: Sequence[Row]) -> None:
    """Add rows to a table; those of one kind become one, in place of earlier ones of this kind."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        one = asdict(row) | {"slowest": "" if row.slowest is None else f"{row.slowest:.3f}"}
        kind = row.fault, row.phase
        if kind in made:
            one |= {key: made[kind][key] + one[key] for key in ("tries", "hit", "lost", "wrong")}
        made[kind] = one
    names = [field.name for field in fields(Row)]
    before = []
    if file.exists():
        with file.open() as opened:
            before = list(csv.DictReader(opened))
    kept = [row for row in before if (row["fault"], row["phase"]) not in made]
    with file.open("w") as opened:
        table = csv.DictWriter(opened, names, lineterminator="\n")
        table.writeheader()
        table.writerows([*kept, *made.values()])
