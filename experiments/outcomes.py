"""What became of the cells of a sweep, and its closing words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["complete", "skipped", "busy", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: `busy` means that another process is at work on it."""

    cell: str
    folder: Path
    status: Status
    error: str = ""


# of this process, which `run.py` turns into its exit code
outcomes: list[Outcome] = []


def report(found: Sequence[Outcome], out: Path) -> None:
    """The closing words of a sweep: its table and figures, and its failures with their logs."""
    from sympo.analysis import Collection, format_table, write_report

    folders = [outcome.folder for outcome in found]
    collection = Collection.from_runs(folders)
    if len(collection.cells):
        written = write_report(collection, out)
        print(f"\n{format_table(written.summary)}\n")
        for figure in written.figures:
            print(figure)
    counts = {
        status: sum(outcome.status == status for outcome in found)
        for status in ("complete", "skipped", "failed")
    }
    print(
        f"\n{len(found)} cells: {counts['complete']} run, {counts['skipped']} complete before, "
        f"{counts['failed']} failed"
    )
    for outcome in found:
        if outcome.status == "failed":
            print(f"failed: {outcome.cell}: {outcome.error}\n  {outcome.folder / 'error.log'}")
