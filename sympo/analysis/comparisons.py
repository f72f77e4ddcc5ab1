"""The numbers of a preset's comparisons: a metric against any setting or metric, by lines and
panels.

Cells are relabelled, so that the estimates of losses against noise apply: `noise` becomes x and
`loss` the label of a line.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from sympo.analysis.choices import at_choice
from sympo.analysis.collect import Collection
from sympo.analysis.comparison_labels import POINT, Labels, Roles
from sympo.analysis.estimates import summarise
from sympo.analysis.intervals import Outcomes
from sympo.analysis.long_cells import internal, long_cells, selected, written
from sympo.report_settings import Comparison

_KEYS = ["epoch", "panel", "loss", "noise"]
_NUMBERS = ["n_seeds", "mean", "low", "high", "interval", "missing"]
_ALONG = {"mean": "x_mean", "low": "x_low", "high": "x_high"}


@dataclass(frozen=True)
class Drawn:
    """The numbers of one figure.

    table: a row per point: `POINT`, then n_seeds, mean, low, high, interval, missing, tie_rate as
        in `summarise`, and against a metric x_low, x_high. x is NaN for cells that do not have the
        setting; their lines are level.
    settings: the values of the settings of each row of `table`. labels: those of the cells.
    context: what all cells share, and what this figure alone has. members: the cells of each row of
        `table`, by their rows in the collection.
    """

    comparison: Comparison
    name: str
    table: pd.DataFrame
    settings: pd.DataFrame
    labels: Labels
    context: str
    members: list[list[int]]

    def csv(self) -> pd.DataFrame:
        """The numbers drawn, under the names of settings and metrics."""
        x, numbers = self.comparison.x, self.table.drop(columns=["epoch", "panel", "tie_rate"])
        if "/" in x:
            numbers = numbers.rename(columns={"x": x, "x_low": f"{x}_low", "x_high": f"{x}_high"})
        else:
            numbers = numbers.drop(columns="x")
        numbers.insert(0, "metric", self.comparison.metric)
        return pd.concat([self.settings, numbers], axis=1)


def compare(collection: Collection, comparison: Comparison) -> list[Drawn] | str:
    """The figures of a comparison, or a sentence on why there is none."""
    of_metric = "/" in comparison.x
    paths = [comparison.metric, *([comparison.x] if of_metric else [])]
    frame, outcomes = long_cells(collection, paths, comparison.epoch)
    frame = at_choice(frame, collection.cells, comparison.choose)
    frame = frame[selected(frame, comparison.where)]
    columns = [internal(path) for path in paths]
    both = frame[columns].notna().all(axis=1)
    # where no cell has a value, such as of flipped pairs without noise, none is missing
    measured = both.groupby([frame["epoch"], frame["noise"]]).transform("any")
    frame, both = frame[measured], both[measured]
    if frame.empty:
        return f"{comparison.name}: not drawn, since no cell here measured {' and '.join(paths)}"
    if not of_metric and comparison.x not in frame:
        return f"{comparison.name}: not drawn, since {comparison.x} does not differ between cells"
    if of_metric:  # points need both numbers
        frame = frame.assign(**{name: frame[name].where(both) for name in columns})
    roles = Roles.of(frame, comparison)
    return [
        _drawn(rows, roles, comparison, name, context, outcomes, len(collection.cells))
        for name, context, rows in _figures(frame, roles, comparison.name)
    ]


def _figures(
    frame: pd.DataFrame, roles: Roles, name: str
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Name, context and rows of each figure."""
    shared = [
        f"{frame[key].iloc[0]}{' noise' * (key == 'noise_model')}"
        for key in ("dataset", "noise_model", "job")
        if frame[key].nunique() == 1
    ]
    if not roles.apart:
        yield name, ", ".join(shared), frame
        return
    for _, rows in frame.groupby(roles.apart, dropna=False):
        own = [written(key, rows[key].iloc[0]) for key in roles.apart]
        suffix = "_".join(own).replace(" ", "=").replace("/", "-")
        yield f"{name}__{suffix}", ", ".join([*shared, *own]), rows


def _drawn(
    frame: pd.DataFrame,
    roles: Roles,
    comparison: Comparison,
    name: str,
    context: str,
    outcomes: Outcomes,
    cells: int,
) -> Drawn:
    labels = Labels.of(frame, roles)
    relabelled = labels.frame.rename(columns={"line": "loss", "x": "noise"})
    keys = pd.DataFrame(
        {
            **dict.fromkeys(("job", "dataset"), ""), "loss": relabelled["loss"],
            "noise": relabelled["noise"], "noise_model": "", "seed": frame["seed"],
            "epoch": relabelled["epoch"], "panel": relabelled["panel"], "oracle": frame["oracle"],
        },
        index=frame.index,
    )  # fmt: skip
    measured = frame[[column for column in frame if "/" in str(column)]]
    table = _estimates(pd.concat([keys, measured], axis=1), comparison, outcomes)
    raw = frame[roles.shown].add_prefix("setting ")
    points = pd.concat([labels.frame, raw], axis=1).drop_duplicates(POINT)
    table = points.merge(table, on=POINT)  # combinations that do not exist are not missing
    ranks = [labels.panels, list(labels.looks)]
    table = (
        table.assign(
            _panel=table["panel"].map(ranks[0].index), _line=table["line"].map(ranks[1].index)
        )
        .sort_values(["epoch", "_panel", "_line", "x"])
        .drop(columns=["_panel", "_line"])
        .reset_index(drop=True)
    )
    settings = table[list(raw)].rename(columns=lambda key: key.removeprefix("setting "))
    table = table.drop(columns=list(raw))
    members = _members(labels.frame, table, cells)
    if "x_mean" in table:
        table["x"] = table.pop("x_mean")
    return Drawn(comparison, name, table, settings, labels, context, members)


def _members(labels: pd.DataFrame, table: pd.DataFrame, cells: int) -> list[list[int]]:
    """The cells of each row; long cells have all `cells` once for each epoch."""
    rows = labels[POINT].assign(cell=labels.index % cells)
    rows = rows.merge(table[POINT].assign(row=range(len(table))), on=POINT)
    found: list[list[int]] = [[] for _ in range(len(table))]
    for row, cell in zip(rows["row"].tolist(), rows["cell"].tolist(), strict=True):
        found[row].append(cell)
    return found


def _estimates(frame: pd.DataFrame, comparison: Comparison, outcomes: Outcomes) -> pd.DataFrame:
    """`summarise` of relabelled cells; of x, too, if that is a metric."""
    table = summarise(frame, internal(comparison.metric), None, outcomes)
    table = table[[*_KEYS, *_NUMBERS, "tie_rate"]]
    if "/" in comparison.x:
        along = summarise(frame, internal(comparison.x), None, outcomes)
        table = table.merge(along[[*_KEYS, *_ALONG]].rename(columns=_ALONG), on=_KEYS)
    return table.rename(columns={"loss": "line", "noise": "x"})
