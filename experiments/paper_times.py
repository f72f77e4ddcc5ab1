"""How long experiments took on this machine, and how long those that are left will take."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sympo.disk import write_atomically
from sympo.pipelines.progress import duration
from sympo.types import BadInput

_Times = dict[str, dict[str, dict[str, float | bool]]]


class Times:
    """Seconds of each experiment, kept in a file, so that they outlive an interruption.

    folder: of the experiments' results. file: holds the times of all sizes. size: of these.
    """

    def __init__(self, folder: Path, file: Path, size: str) -> None:
        self.folder, self.file, self.size = folder, file, size
        self._all: _Times = {}
        if file.is_file():
            with _read(file):
                self._all = _checked(json.loads(file.read_text()))
        self._here = self._all.setdefault(size, {})
        self._committed = {}
        for path in folder.glob("*/provenance.json"):
            with _read(path):
                self._committed[path.parent.name] = _cell_seconds(path)

    def of(self, name: str) -> float | None:
        """Seconds that the experiment took; None if it has not ended."""
        found = self._here.get(name)
        return float(found["seconds"]) if found and found["done"] else None

    def add(self, name: str, seconds: float, done: bool) -> None:
        """Add the time of a run, unless an earlier one has ended: this one only checked it."""
        if self.of(name) is not None:
            return
        before = float(self._here.get(name, {"seconds": 0.0})["seconds"])
        self._here[name] = {"seconds": round(before + seconds, 1), "done": done}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, json.dumps(self._all, indent=1) + "\n")

    def forecast(self, names: Sequence[str]) -> str:
        """The time of those that have not ended, `about 25 min left`; empty if nothing is known.

        An experiment whose cells were timed when its results were committed takes as long as these
        did, times the ratio of measured to committed seconds so far. Another one takes the mean of
        those measured.
        """
        measured = {name: seconds for name in self._here if (seconds := self.of(name)) is not None}
        both = measured.keys() & self._committed.keys()
        ratio = 1.0
        if both:
            ratio = sum(measured[name] for name in both)
            ratio /= sum(self._committed[name] for name in both)
        seconds, unknown = 0.0, 0
        for name in names:
            if name in measured:
                continue
            if name in self._committed:
                seconds += ratio * self._committed[name]
            elif measured:
                seconds += sum(measured.values()) / len(measured)
            else:
                unknown += 1
        if not seconds:
            return ""
        what = "experiment that was" if unknown == 1 else "experiments that were"
        more = f" without {unknown} {what} not timed" if unknown else ""
        return f"about {duration(seconds)} left{more}"


@contextmanager
def _read(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadInput(f"{file} is damaged, remove it ({' '.join(str(error).split())})") from error


def _checked(times: _Times) -> _Times:
    """The same; raises if some time lacks its numbers."""
    for of_size in times.values():
        for one in of_size.values():
            float(one["seconds"]), bool(one["done"])
    return times


def _cell_seconds(provenance: Path) -> float:
    # written rounded
    return max(1.0, float(json.loads(provenance.read_text())["wall_seconds_of_all_cells"]))
