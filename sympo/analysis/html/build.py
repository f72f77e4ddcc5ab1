"""The page of a collection: its parts in the order of their weight."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from sympo.analysis.canvas import DRAWN
from sympo.analysis.canvas import caption as set_caption
from sympo.analysis.collect import Collection
from sympo.analysis.comparisons import Drawn
from sympo.analysis.figures import Standing
from sympo.analysis.frames import judge_of
from sympo.analysis.html.board import board, cell_values, measured
from sympo.analysis.html.charts import comparison_chart, standing_chart
from sympo.analysis.html.details import data_of, failure, groups, packed_details
from sympo.analysis.html.keys import BESIDE, Json, Keys
from sympo.analysis.html.outcome import outcome
from sympo.analysis.html.packing import packed
from sympo.analysis.html.page import Page, Shown
from sympo.analysis.tables import missing_cells

_DETAILS = 3_000_000  # characters
_FAILURES = 50  # listed with their logs


@dataclass(frozen=True)
class _Content:
    """A figure with its packed content."""

    shown: Shown
    part: str


def build(
    collection: Collection,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    standing: Sequence[Standing],
    compared: Sequence[tuple[Drawn, Figure]],
    claims: Sequence[str],
    notes: Sequence[str],
    folder: Path,
    files: Mapping[str, str],
) -> Page:
    """The page of a report, before its figures are saved and cleared.

    standing, compared: the figures. claims: sentences of outcome, empty for those of the leading
    losses. folder, files: what can be downloaded.
    """
    cells = collection.cells
    # losses and rates of unfinished runs outside the grid, and baselines
    keys = Keys.of(cells, summary["variant"].unique().tolist(), summary["noise"].unique().tolist())
    metrics = measured(summary)
    contents = [
        *(_standing(one, keys, metrics) for one in standing),
        *(_compared(drawn, figure) for drawn, figure in compared),
    ]
    figures = [one for one in contents if one is not None]
    details = packed_details(collection.folders, groups(cells, keys), _DETAILS)
    parts = {
        "board": packed(board(summary, differences, keys, metrics)),
        **{one.shown.part: one.part for one in figures},
        "cells": packed(cell_values(collection, keys, metrics)),
        **{f"details-{name}": part for name, part in details.items()},
    }
    return Page(
        title=_title(cells),
        outcome=claims or outcome(cells, summary, differences),
        facts=[*collection.provenance.facts(), ("Data", _data(collection)), ("Grid", _grid(keys))],
        counts=_counts(collection, summary),
        notes=[*notes, *collection.damaged[:10]],
        failures=[failure(Path(one)) for one in collection.unfinished[:_FAILURES]],
        figures=[one.shown for one in figures],
        parts=parts,
        folder=folder,
        files=files,
    )


def _standing(one: Standing, keys: Keys, metrics: Sequence[str]) -> _Content | None:
    """None for a figure that says what another one does."""
    metric = str(one.rows["metric"].iloc[0]) if "metric" in one.rows else ""
    if judge_of(metric) and metric.split("/", 1)[1] not in metrics:
        return None
    at = keys.experiment(one.rows.head(1))[0]
    if one.axis is None:
        return _content(one.name, one.figure, at, keys.title(at), {"svg": _svg(one.figure)})
    chart = standing_chart(one, keys)
    if chart is None:
        return None
    return _content(one.name, one.figure, at, keys.title(at), chart)


def _compared(drawn: Drawn, figure: Figure) -> _Content:
    return _content(drawn.name, figure, None, drawn.context, comparison_chart(drawn, figure))


def _content(name: str, figure: Figure, experiment: int | None, of: str, content: Json) -> _Content:
    what = str(figure.get_label()).removesuffix(f": {of}")
    caption = " ".join(figure.get_supxlabel().split())
    part = f"figure-{name}"
    return _Content(Shown(name, what, of, caption, experiment, part), packed(content))


def _svg(figure: Figure) -> str:
    """A figure without its title and its caption, which the page has as text."""
    title, caption = figure.get_suptitle(), figure.get_supxlabel()
    made = io.StringIO()
    with mpl.rc_context({**DRAWN, "svg.hashsalt": "sympo"}):
        figure.suptitle("")
        figure.supxlabel("")
        figure.savefig(made, format="svg", metadata={"Date": None, "Creator": None})
        figure.suptitle(title)
        set_caption(figure, caption)
    return made.getvalue()


def _title(cells: pd.DataFrame) -> str:
    sets, jobs = (", ".join(sorted(cells[name].unique())) for name in ("dataset", "job"))
    return f"{sets}: {jobs.replace('_', ' ')}, preferences with label noise"


def _data(collection: Collection) -> str:
    """The numbers of pairs of each data set, from the first of its cells that recorded them."""
    sets = collection.cells["dataset"].tolist()
    found = []
    for name in sorted(set(sets)):
        first = sets.index(name)
        counts = data_of(Path(collection.folders[first])) if collection.folders else ""
        found.append(f"{name} ({counts})" if counts else name)
    return ", ".join(found)


def _grid(keys: Keys) -> str:
    losses = sum(name not in BESIDE for name in keys.variants)
    counts = (
        (len(keys.experiments), "experiment"), (losses, "loss"), (len(keys.noises), "noise rate"),
        (len(keys.seeds), "seed"),
    )  # fmt: skip
    plural = {"loss": "losses"}
    return ", ".join(
        f"{n:,} {what if n == 1 else plural.get(what, f'{what}s')}" for n, what in counts
    )


def _counts(collection: Collection, summary: pd.DataFrame) -> dict[str, int]:
    failed = sum((Path(one) / "error.log").is_file() for one in collection.unfinished)
    return {
        "complete": len(collection.cells),
        "failed": failed,
        "unfinished": len(collection.incomplete) - failed,
        "missing": missing_cells(summary),
    }
