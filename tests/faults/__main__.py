"""Faults on purpose, each followed by the same command; the table of what was lost.

    python -m tests.faults [--short] [--kinds kills,harms] [--phases start,summary] [--tries 4]
        [--seed 0] [--out results/faults]

`--tries` of each kind of kill in each phase: before an operation on a file, at a function call,
from outside at a random moment; of one of two workers, and of their parent. Rows are added to
OUT/faults.csv. Exits with 1 if a cell was lost, a number changed, damage was not named, or a worker
outlived its parent by a second.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults import harms, kills
from tests.faults.phases import NAMES
from tests.faults.trials import Row, run_program


class Faults(kills.Kills, harms.Harms):
    """All faults, compared with the same undisturbed sweeps."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="one kill a phase, a few harms")
    parser.add_argument("--kinds", default="kills,harms")
    parser.add_argument("--phases", default=",".join(NAMES))
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    def rows(folder: Path) -> Iterator[Row]:
        faults = Faults(folder, options.seed, options.short)
        if "kills" in options.kinds:
            tries = 1 if options.short else options.tries
            yield from kills.rows(faults, options.phases.split(","), tries, options.short)
        if "harms" in options.kinds:
            yield from harms.rows(faults, options.short)

    return run_program(rows, options.out)


if __name__ == "__main__":
    sys.exit(main())
