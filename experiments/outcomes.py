"""What became of the cells of a sweep, and its closing words."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sympo.records import write_atomically

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


def report(found: Sequence[Outcome], out: Path, overrides: Sequence[str]) -> None:
    """The closing words of a sweep: its table and figures, and its failures with their logs."""
    from sympo.analysis import Collection, format_table, write_report

    collection = Collection.from_runs([outcome.folder for outcome in found])
    if len(collection.cells):
        written = write_report(collection, out)
        complete = [outcome.folder for outcome in found if outcome.status != "failed"]
        write_atomically(out / "provenance.json", provenance(complete, overrides))
        print(f"\n{format_table(written.summary)}\n")
        for figure in written.figures:
            print(figure)
    count = Counter(outcome.status for outcome in found)
    print(
        f"\n{len(found)} cells: {count['complete']} run, {count['skipped']} complete before, "
        f"{count['failed']} failed"
    )
    for outcome in found:
        if outcome.status == "failed":
            print(f"failed: {outcome.cell}: {outcome.error}\n  {outcome.folder / 'error.log'}")


def provenance(folders: Sequence[Path], overrides: Sequence[str]) -> str:
    """What made the cells: command, commits, devices, versions, seeds; JSON."""
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    # where the data lay says nothing: its content is part of every cell's hash
    kept = [o for o in overrides if not o.startswith(("dataset.path=", "results_dir="))]
    given = any(o.startswith("dataset.path=") for o in overrides)
    hidden = ["dataset.path=FOLDER"] if given else []
    versions = {json.dumps(summary["versions"], sort_keys=True) for summary in summaries}
    made = {
        "command": " ".join(["python run.py -m", *kept, *hidden]),
        "cells": len(summaries),
        "git_commit": sorted({str(summary["git_commit"]) for summary in summaries}),
        "device": sorted({summary["device"] for summary in summaries}),
        "seed": sorted({summary["seed"] for summary in summaries}),
        "wall_seconds_of_all_cells": round(sum(summary["wall_seconds"] for summary in summaries)),
        "versions": [json.loads(text) for text in sorted(versions)],
    }
    return json.dumps(made, indent=1) + "\n"
