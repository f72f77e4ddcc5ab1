"""The results of a process's cells, and the report that closes a sweep."""

import json
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sympo.disk import write_atomically
from sympo.pipelines.result import RunResult
from sympo.secrets import redacted
from sympo.types import printable

if TYPE_CHECKING:
    from sympo.analysis.paper_values import PaperValues
    from sympo.report_settings import ReportSettings

# settings that name files
PATHS = frozenset({"path", "name_or_path", "tokenizer_path"})


# the note of every figure and table of a small size
SMALL = "Small size: not the basis of a conclusion."

# the results of this process, which `run.py` turns into its exit code
outcomes: list[RunResult] = []


def report(
    found: Sequence[RunResult],
    out: Path,
    provenance: Callable[[Sequence[Path]], tuple[str, str]],
    words: tuple[str, str, str] = ("cells", "run", "already complete"),
    asked: "ReportSettings | None" = None,
    note: str = "",
    paper_values: "Sequence[PaperValues]" = (),
    figures: bool = True,
    typed: str = "",
) -> bool:
    """Report on many runs: write tables and figures, print counts and failures with their logs.
    Returns whether a report was written.

    provenance: returns the name and text of a file that records how the complete folders were made.
    words: what to call the runs, those done now, and those done before.
    asked: comparisons and claims beside the standing figures.
    note: a sentence to put below the table and every standing figure.
    paper_values: numbers of a paper to show beside ours.
    figures: whether to draw them.
    typed: the command, for the top of the page.
    """
    folders = list(dict.fromkeys(outcome.folder for outcome in found))
    written = False
    try:
        written = _draw(folders, out, provenance, asked, note, paper_values, figures, typed)
    except Exception as error:  # the cells are safe in their folders, and listed below
        if isinstance(error, OSError):  # such as a full disk: a traceback would not help
            print(f"error: {printable(f'could not report to {out}: {error}')}", file=sys.stderr)
        else:
            traceback.print_exc()
        outcomes.append(RunResult("report", out, "failed", str(error)))
    count = Counter(outcome.status for outcome in found)
    what, done, before = words
    if len(found) == 1:
        what = what.removesuffix("s")
    print(
        f"\n{len(found)} {what}: {count['complete']} {done}, {count['skipped']} {before}, "
        f"{count['failed']} failed"
    )
    for outcome in found:
        if outcome.status == "failed":
            print(f"failed: {outcome.cell}: {printable(outcome.error)}")
            if outcome.log:
                print(f"  {outcome.log}")
    return written


def _draw(
    folders: Sequence[Path],
    out: Path,
    provenance: Callable[[Sequence[Path]], tuple[str, str]],
    asked: "ReportSettings | None",
    note: str,
    paper_values: "Sequence[PaperValues]",
    figures: bool,
    typed: str,
) -> bool:
    from sympo.analysis import Collection, write_report

    collection = Collection.from_runs(folders)
    for sentence in collection.set_aside:
        outcomes.append(RunResult("report", out, "failed", sentence))
    if collection.cells.empty:
        print("", *collection.set_aside, sep="\n")
        return False
    made = replace(collection.provenance, command=typed)
    beside = replace(collection, paper_values=paper_values, provenance=made)
    written = write_report(beside, out, asked, note, figures)
    incomplete = set(collection.unfinished)
    name, text = provenance([folder for folder in folders if str(folder) not in incomplete])
    write_atomically(out / name, text)
    print(f"\n{written.table}\n")
    for sentence in written.claims:
        print(f"{sentence}\n")
    for figure in written.figures:
        print(figure)
    print(f"\nreport: {written.page}")
    return True


def command(flags: str, overrides: Sequence[str]) -> str:
    """The command with these overrides, without paths of files: every cell's hash covers their
    content, and their location does not matter."""
    shown = [_without_path(o) for o in overrides if not o.startswith("results_dir=")]
    return redacted(f"python run.py {flags}" + shlex.join(shown))


def _without_path(override: str) -> str:
    key, _, value = override.partition("=")
    path = Path(value.strip("'\""))
    place = path.is_absolute() or key.split(".")[-1] in PATHS
    return f"{key}=FOLDER" if place and path.exists() else override


def cell_provenance(overrides: Sequence[str], folders: Sequence[Path]) -> tuple[str, str]:
    """The provenance of the cells: command, commits, devices, versions and seeds; JSON."""
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    versions = {json.dumps(summary["versions"], sort_keys=True) for summary in summaries}
    made = {
        "command": command("-m ", overrides),
        "cells": len(summaries),
        "git_commit": sorted({str(summary["git_commit"]) for summary in summaries}),
        "device": sorted({summary["device"] for summary in summaries}),
        "seed": sorted({summary["seed"] for summary in summaries}),
        "wall_seconds_of_all_cells": round(sum(summary["wall_seconds"] for summary in summaries)),
        "versions": [json.loads(text) for text in sorted(versions)],
    }
    return "provenance.json", json.dumps(made, indent=1) + "\n"
