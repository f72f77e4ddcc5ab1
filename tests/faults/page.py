"""The table of docs/faults.md, from results/faults/faults.csv.

python -m tests.faults.page     # writes it
"""

import csv
from collections import defaultdict
from pathlib import Path

from sympo.disk import write_atomically
from tests.conftest import ROOT
from tests.faults.phases import NAMES
from tests.faults.trials import FILE

PAGE = ROOT / "docs" / "faults.md"
TABLE = ROOT / "results" / "faults" / FILE
_ENDS = "<!-- table -->\n", "<!-- end of table -->\n"
_COUNTS = ("tries", "hit", "lost", "wrong")


def rows(file: Path = TABLE) -> list[dict[str, str]]:
    """The rows of the table."""
    with file.open() as opened:
        return list(csv.DictReader(opened))


def hits(found: list[dict[str, str]]) -> dict[str, int]:
    """Kills that were seen to hit inside each phase."""
    by_phase: dict[str, int] = defaultdict(int)
    for row in found:
        if _is_kill(row):
            by_phase[row["phase"]] += int(row["hit"])
    return dict(by_phase)


def _is_kill(row: dict[str, str]) -> bool:
    return "killed" in row["fault"]


def _order(row: dict[str, str]) -> tuple[bool, int, str]:
    """Kills by phase, then other faults by name."""
    kill = _is_kill(row)
    return not kill, NAMES.index(row["phase"]) if kill else 0, "" if kill else row["fault"]


def page(text: str, found: list[dict[str, str]]) -> str:
    """The page with the table and its totals."""
    lines = [
        "| fault | where | tries | hit there | cells lost | files wrong |",
        "|---|---|" + "--:|" * 4,
    ]
    for row in sorted(found, key=_order):
        lines.append(
            "| " + " | ".join([row["fault"], row["phase"], *(row[n] for n in _COUNTS)]) + " |"
        )
    totals = {name: sum(int(row[name]) for row in found) for name in _COUNTS}
    lines.append("| **all** | | " + " | ".join(f"**{totals[name]:,}**" for name in _COUNTS) + " |")
    slowest = max(float(row["slowest"]) for row in found if row["slowest"])
    kills = ", ".join(f"{phase} {count}" for phase, count in hits(found).items())
    lines += [
        "",
        f"Kills seen to hit inside each phase: {kills}.",
        f"After the death of their parent, workers ran for at most {slowest:.2f} s more.",
    ]
    before, rest = text.split(_ENDS[0])
    after = rest.split(_ENDS[1])[1]
    return f"{before}{_ENDS[0]}" + "\n".join(lines) + f"\n{_ENDS[1]}{after}"


if __name__ == "__main__":
    write_atomically(PAGE, page(PAGE.read_text(), rows()))
