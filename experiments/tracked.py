"""The W&B run of a sweep, and the lines that say where offline runs are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.report import command
from sympo.pipelines.cell import Cell
from sympo.pipelines.result import RunResult
from sympo.tracking import resolve_mode
from sympo.tracking.sweep import mirror_sweep


def track_sweep(
    cells: Sequence[Cell],
    found: Sequence[RunResult],
    report: Path | None,
    overrides: Sequence[str],
    experiment: str | None,
) -> None:
    """Mirror a sweep that has ended to W&B, and print where its offline runs are.

    report: the folder of its report, None if it could not be written.
    """
    config = cells[0].config
    settings: Mapping[str, Any] = config["wandb"]
    if resolve_mode(settings["mode"]) == "disabled":
        return
    count = Counter(outcome.status for outcome in found)
    results = Path(config["results_dir"])
    mirror_sweep(
        settings,
        results,
        report,
        {"command": command("-m ", overrides), "experiment": experiment, "cells": len(cells)},
        {
            "cells/complete": count["complete"] + count["skipped"],
            "cells/run": count["complete"],
            "cells/failed": count["failed"],
        },
    )
    print_offline([outcome.folder for outcome in found], results)


def print_offline(folders: Sequence[Path], results: Path) -> None:
    """Print how many of the offline runs of these cells are left to upload, and how to do so."""
    from sympo.tracking.sync import left_in

    places = [*folders, *results.glob("wandb/*")]
    if left := sum(len(left_in(place)) for place in places):
        print(
            f"W&B: {left} offline run{'s' * (left != 1)} to upload, in the wandb/ folders below "
            f"{results}: python -m sympo.tracking sync {results}"
        )
