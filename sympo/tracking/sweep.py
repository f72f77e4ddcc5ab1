"""The W&B run of a whole sweep: its tables, its figures, and the report as an artifact."""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sympo.tracking.mode import resolve_mode
from sympo.tracking.session import Session

# W&B shows no more rows of a table; the artifact holds all
MOST_ROWS = 10_000
# tables of a report that are shown; the artifact holds all
TABLES = ("summary", "differences", "claims", "comparisons", "judges", "cells")
# files of a report
SUFFIXES = (".csv", ".png", ".pdf", ".html", ".json", ".tex", ".svg")


def mirror_sweep(
    settings: Mapping[str, Any],
    results_dir: Path,
    report: Path | None,
    config: Mapping[str, Any],
    summary: Mapping[str, float | str],
) -> None:
    """Log the report of a sweep as one W&B run, in the group of its cells.

    settings: those of the cells' runs, with the group. report: the folder of the report, None if it
        could not be written. config, summary: of the W&B run, such as the command and the number of
        failed cells.
    """
    mode, group = resolve_mode(settings["mode"]), str(settings["group"])
    if mode == "disabled":
        return
    session = Session(
        mode,
        results_dir / "wandb" / label_of(group),
        f"sweep {group}",
        project=settings["project"],
        entity=settings["entity"],
        group=group,
        job_type="sweep",
        name=f"sweep: {group}",
        tags=["sweep"],
        config=config,
        metadata=True,
    )
    session.update(summary=summary)
    if report is not None and session.active:
        with session.harmless():
            _log_report(session, report, label_of(group))
    session.finish()


def label_of(group: str) -> str:
    """A short name for folders and artifacts: `sweep-1a2b3c4d`."""
    return f"sweep-{hashlib.blake2b(group.encode(), digest_size=4).hexdigest()}"


def _log_report(session: Session, report: Path, label: str) -> None:
    files = sorted(file for file in report.iterdir() if file.suffix in SUFFIXES)
    for name in TABLES:
        if (file := report / f"{name}.csv") in files:
            session.log_table(f"report/{name}", *_read(file))
    for file in files:
        if file.suffix == ".png":
            session.log_image(f"figures/{file.stem}", file)
    session.log_files(f"report-{label}", "report", files)


def _read(file: Path) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a CSV file; a column without texts holds numbers."""
    with file.open(newline="", encoding="utf-8") as lines:
        columns, *rows = csv.reader(lines)
    kept = rows[:MOST_ROWS]
    values = [_numbers([row[place] for row in kept]) for place in range(len(columns))]
    return columns, [list(row) for row in zip(*values, strict=True)]


def _numbers(texts: list[str]) -> list[Any]:
    try:
        return [float(text) if text else None for text in texts]
    except ValueError:
        return list(texts)
