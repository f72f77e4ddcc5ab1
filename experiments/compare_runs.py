"""Why two runs of one cell differ: what made them, and by how much their numbers differ.

    python -m experiments.compare_runs RUN_FOLDER OTHER_RUN_FOLDER

Exit codes: 0, the metrics are equal; 1, they differ; 2, a folder does not hold a complete run.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sympo.types import BadInput, printable

# parts of a summary that can explain a difference
CAUSES = ("config", "versions", "git_commit", "device", "environment", "trained_together", "epochs")
MISSING = "not recorded"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.compare_runs")
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path)
    given = parser.parse_args(arguments)
    try:
        one, other = summary(given.run), summary(given.other)
    except BadInput as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    print(*causes(one, other), *metrics(one, other), sep="\n")
    return int(any(largest(one, other, which) != 0 for which in ("last", "selected")))


def summary(folder: Path) -> dict[str, Any]:
    """The summary of a complete run; raises BadInput."""
    file = folder / "summary.json"
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        if not isinstance(found["last"], dict) or not isinstance(found["selected"], dict):
            raise ValueError("no metrics")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is not the summary of a complete run: {error}") from error
    return found


def causes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A line for each recorded circumstance in which two runs differ."""
    mine, theirs = (dict(_leaves({key: s.get(key) for key in CAUSES})) for s in (one, other))
    lines = [
        f"{name}: {mine.get(name, MISSING)} | {theirs.get(name, MISSING)}"
        for name in {**mine, **theirs}
        if mine.get(name, MISSING) != theirs.get(name, MISSING)
    ]
    return lines or ["both were made under the same recorded circumstances"]


def metrics(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A line for each metric that differs, and one on how many are equal."""
    lines = []
    for which in ("last", "selected"):
        differing = _differing(one[which], other[which])
        for name, (a, b) in differing.items():
            size = "" if a is None or b is None else f" (by {abs(a - b):.3g})"
            lines.append(f"{which}/{name}: {a} | {b}{size}")
        equal = len(one[which].keys() & other[which].keys() - differing.keys())
        lines.append(f"{which}: {equal} metrics are equal, {len(differing)} differ")
    return lines


def largest(one: Mapping[str, Any], other: Mapping[str, Any], which: str) -> float:
    """The largest difference of a metric; infinite if only one run has it."""
    pairs = _differing(one[which], other[which]).values()
    return max((math.inf if a is None or b is None else abs(a - b) for a, b in pairs), default=0.0)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (one.get(name), other.get(name))
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    }


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}" if place else str(key))
    elif value is not None:
        yield place, json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
