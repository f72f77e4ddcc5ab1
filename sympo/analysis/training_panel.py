"""One figure of all that changes while policies are trained, against the epoch."""

import textwrap
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sympo.analysis import estimates
from sympo.analysis.canvas import DRAWN, explain, few_ticks, legend, limit, metrics_in
from sympo.analysis.collect import Collection
from sympo.analysis.frames import show
from sympo.analysis.style import LossStyle, styles
from sympo.analysis.training_plots import band
from sympo.metrics import METRICS, metric_of

ROWS = tuple(metric.path for metric in METRICS if metric.panel)
# a policy that records it records all of the panel; other models have margins only
RECORDED = "test/logp_chosen"
# columns that fit a page
MOST_RATES = 3


def training_estimates(collection: Collection) -> pd.DataFrame:
    """`curve_estimates` of every metric of the panel, of the cells that recorded them."""
    curves = collection.curves
    curves = curves[curves[RECORDED].notna()] if RECORDED in curves else curves.head(0)
    tables = [
        estimates.curve_estimates(curves, metric, collection.incomplete)
        for metric in (ROWS if len(curves) else ())
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@mpl.rc_context(DRAWN)
def training_panel(curves: pd.DataFrame) -> Figure:
    """Small multiples along training: a row per metric, a column per noise rate, a line per loss.

    The columns are the lowest, the middle and the highest of the rates.
    curves: `training_estimates` of one experiment.
    """
    rates = shown_rates(np.sort(curves.loc[curves["n_seeds"] > 0, "noise"].unique()))
    curves = curves[curves["noise"].isin(rates)]
    names, looks = metrics_in(curves), styles(curves["variant"])
    size = (3.1 * len(rates) + 1.9, 1.75 * len(names) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(names), len(rates), sharex=True, sharey="row", squeeze=False)
    notes = ["Rows have scales of their own."]
    for row, name in zip(grid, names, strict=True):
        own, unit = curves[curves["metric"] == name], metric_of(name)
        for ax, rate in zip(row, rates, strict=True):
            _draw(own[own["noise"] == rate], unit.factor, looks, ax)
        row[0].set_ylabel(textwrap.fill(unit.label, 22), fontsize=9)
        notes += [note for note in limit(row, own, unit, Axes.set_ylim) if note not in notes]
    for ax, rate in zip(grid[0], rates, strict=True):
        ax.set_title(f"noise {show(float(rate))}")
    for ax in grid[-1]:
        ax.set_xlabel("Epoch")
        few_ticks(ax)
    figure.align_ylabels(list(grid[:, 0]))
    legend(figure, curves)
    return explain(figure, curves, "Policies along training", notes)


def _draw(rows: pd.DataFrame, factor: float, looks: Mapping[str, LossStyle], ax: Axes) -> None:
    rows = rows[rows["n_seeds"] > 0]
    if rows.empty:
        ax.text(0.5, 0.5, "no flips", transform=ax.transAxes, ha="center", color="#9a9a9a")
    for place, (variant, look) in enumerate(looks.items()):
        band(rows[rows["variant"] == variant], factor, look, place, ax, axis="epoch")


def shown_rates(rates: np.ndarray) -> np.ndarray:
    """The rates with a column, of all sorted ones."""
    if len(rates) <= MOST_RATES:
        return rates
    return rates[[0, len(rates) // 2, -1]]
