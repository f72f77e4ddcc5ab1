"""What became of the cells of a sweep, and its closing words."""

import json
import shlex
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sympo.records import PATHS, write_atomically

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
    try:
        _draw([outcome.folder for outcome in found], out, overrides)
    except Exception as error:  # the cells are safe in their folders, and their fate is told below
        traceback.print_exc()
        outcomes.append(Outcome("report", out, "failed", str(error)))
    count = Counter(outcome.status for outcome in found)
    print(
        f"\n{len(found)} cells: {count['complete']} run, {count['skipped']} complete before, "
        f"{count['failed']} failed"
    )
    for outcome in found:
        if outcome.status == "failed":
            print(f"failed: {outcome.cell}: {outcome.error}\n  {outcome.folder / 'error.log'}")


def _draw(folders: Sequence[Path], out: Path, overrides: Sequence[str]) -> None:
    from sympo.analysis import Collection, write_report

    collection = Collection.from_runs(folders)
    if collection.cells.empty:
        return
    written = write_report(collection, out)
    complete = [folder for folder in folders if (folder / "summary.json").is_file()]
    write_atomically(out / "provenance.json", provenance(complete, overrides))
    print(f"\n{written.table}\n")
    for figure in written.figures:
        print(figure)


def _without_place(override: str) -> str:
    """Where files lay says nothing: their content is part of every cell's hash."""
    key, _, value = override.partition("=")
    return f"{key}=FOLDER" if key.split(".")[-1] in PATHS and Path(value).exists() else override


def provenance(folders: Sequence[Path], overrides: Sequence[str]) -> str:
    """What made the cells: command, commits, devices, versions, seeds; JSON."""
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    told = [_without_place(o) for o in overrides if not o.startswith("results_dir=")]
    versions = {json.dumps(summary["versions"], sort_keys=True) for summary in summaries}
    made = {
        "command": "python run.py -m " + shlex.join(told),
        "cells": len(summaries),
        "git_commit": sorted({str(summary["git_commit"]) for summary in summaries}),
        "device": sorted({summary["device"] for summary in summaries}),
        "seed": sorted({summary["seed"] for summary in summaries}),
        "wall_seconds_of_all_cells": round(sum(summary["wall_seconds"] for summary in summaries)),
        "versions": [json.loads(text) for text in sorted(versions)],
    }
    return json.dumps(made, indent=1) + "\n"
