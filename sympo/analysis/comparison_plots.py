"""The figure of a comparison."""

import textwrap
from collections.abc import Mapping
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.canvas import (
    DRAWN,
    caption,
    few_ticks,
    head,
    limit,
    limit_y,
    line_of,
    panels,
    step_aside,
)
from sympo.analysis.captions import interval_text
from sympo.analysis.comparisons import Drawn
from sympo.analysis.frames import show
from sympo.analysis.long_cells import selected, written
from sympo.analysis.style import LossStyle, paired_styles
from sympo.metrics import EPOCHS, Metric, metric_of
from sympo.report_settings import FULL, Comparison

MOST_TICKS = 8  # values of a setting that are all marked
_PANELS_A_ROW = 3
_LETTERS_AN_INCH = 11
_BOUND: Mapping[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.6}


@mpl.rc_context(DRAWN)
def comparison_figure(drawn: Drawn, size: str = FULL) -> Figure:
    """Means and 95% intervals, a line per combination of the comparison's lines."""
    table, comparison = drawn.table, drawn.comparison
    unit = _unit(comparison.metric)
    figure, axes = _grid(drawn)
    looks, bounding = paired_styles(drawn.labels.looks), _bounding(drawn)
    for (epoch, panel), ax in axes.items():
        rows = table[(table["epoch"] == epoch) & (table["panel"] == panel) & (table["n_seeds"] > 0)]
        for place, (line, look) in enumerate(looks.items()):
            own, shift = rows[rows["line"] == line], place - (len(looks) - 1) / 2
            if "/" in comparison.x:
                _trail(own, unit, look, ax, _unit(comparison.x))
            else:
                dodge = _Dodge.of(table, comparison, shift, len(looks))
                _along(own, unit, look, ax, dodge, joined=not drawn.labels.categories)
        of_bound = bounding.index.intersection(rows.index)
        if len(of_bound):
            _bound(bounding.loc[of_bound], rows["x"], unit, ax)
        if categories := drawn.labels.categories:
            room = ax.get_position().width * figure.get_figwidth()  # in inches
            slant = 30 * (len("  ".join(categories)) > _LETTERS_AN_INCH * room)
            ax.set_xticks(range(len(categories)), categories)
            if slant:
                for label in ax.get_xticklabels():
                    label.set(rotation=slant, ha="right", rotation_mode="anchor")
        elif "/" not in comparison.x:
            _scale(ax, table, comparison)
        elif comparison.log_x and (table["x"].dropna() > 0).all():
            ax.set_xscale("log")
        else:
            few_ticks(ax)
    notes = _limits(list(axes.values()), drawn, unit)
    _legend(figure, looks, drawn)
    title = comparison.title or f"{unit.title} against {_x_in_words(comparison)}"
    head(figure, title, drawn.context)
    sizes = [] if size == FULL else [f"A coarse form of the experiment (size={size})."]
    caption(figure, " ".join([interval_text(_as_estimates(table)), *notes, *sizes]))
    return figure


def _grid(drawn: Drawn) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel per reported epoch and value of the panels' setting."""
    held = drawn.table[drawn.table["n_seeds"] > 0]
    epochs = [which for which in ("", *EPOCHS) if which in set(held["epoch"])]
    shown = [panel for panel in drawn.labels.panels if panel in set(held["panel"])]
    keys = list(product(epochs, shown))
    across = len(shown) if len(epochs) > 1 and len(shown) > 1 else len(keys)
    columns = min(across, _PANELS_A_ROW) if len(epochs) == 1 or len(shown) == 1 else across
    rows = -(-len(keys) // columns)
    columns = -(-len(keys) // rows) if rows * columns > len(keys) else columns
    wide = 4.3 if len(keys) <= 2 else 3.1
    figure, axes = panels(rows, columns, width=wide, height=3.9 if len(keys) <= 2 else 2.7)
    longest = max(map(len, drawn.labels.looks))
    figure.set_figwidth(figure.get_figwidth() + 0.08 * max(0, longest - 12))
    for ax in axes[len(keys) :]:
        ax.remove()
    axes = axes[: len(keys)]
    for (epoch, panel), ax in zip(keys, axes, strict=True):
        of_epoch = ""
        if len(epochs) > 1:
            of_epoch = EPOCHS[epoch] if len(keys) == 2 else f"{epoch.title()} epoch"
        ax.set_title(", ".join(filter(None, [of_epoch, panel])))
    below = textwrap.wrap(_x_label(drawn.comparison), int(9 * wide), break_long_words=False)
    for ax in axes[max(len(keys) - columns, 0) :]:
        ax.set_xlabel("\n".join(below))
        ax.tick_params(labelbottom=True)
    label = _unit(drawn.comparison.metric).label
    written = textwrap.wrap(label, int(9 * figure.get_figheight()), break_long_words=False)
    figure.supylabel("\n".join(written), fontsize=10.5)
    return figure, dict(zip(keys, axes, strict=True))


class _Dodge:
    """Moves the lines of a panel apart, so that their intervals do not cover each other."""

    def __init__(self, step: float, log: bool) -> None:
        self.step, self.log = step, log

    @classmethod
    def of(cls, table: pd.DataFrame, comparison: Comparison, shift: float, lines: int) -> "_Dodge":
        values = table["x"].dropna()
        log = comparison.log_x and bool((values > 0).all())
        return cls(step_aside(np.log10(values) if log else values, lines) * shift, log)

    def __call__(self, x: pd.Series) -> pd.Series:
        return x * 10**self.step if self.log else x + self.step


def _along(
    rows: pd.DataFrame, unit: Metric, look: LossStyle, ax: Axes, dodge: "_Dodge", joined: bool
) -> None:
    """Means along a setting, joined by a line if it is a number, and a level line for cells without
    the setting."""
    level = rows[rows["x"].isna()]
    for height in unit.factor * level["mean"]:
        ax.axhline(height, **line_of(look), linewidth=1.2, zorder=1.5)
    rows = rows[rows["x"].notna()]
    if rows.empty:
        return
    x, y = dodge(rows["x"]), unit.factor * rows["mean"]
    ends = [y - unit.factor * rows["low"], unit.factor * rows["high"] - y]
    ax.errorbar(x, y, ends, fmt="none", ecolor=look.color, elinewidth=1, capsize=2.2, alpha=0.75)
    ax.plot(x, y, **(line_of(look) if joined else {"linestyle": ""}), **_marks(look))
    _mark_short(rows, x, y, look, ax)


def _trail(rows: pd.DataFrame, unit: Metric, look: LossStyle, ax: Axes, across: Metric) -> None:
    """A line along a metric, with a cross of both intervals at each point."""
    rows = rows.sort_values("x")
    x, y = across.factor * rows["x"], unit.factor * rows["mean"]
    ax.errorbar(
        x,
        y,
        xerr=[x - across.factor * rows["x_low"], across.factor * rows["x_high"] - x],
        yerr=[y - unit.factor * rows["low"], unit.factor * rows["high"] - y],
        fmt="none",
        ecolor=look.color,
        elinewidth=0.9,
        alpha=0.45,
    )
    ax.plot(x, y, **line_of(look), **_marks(look))
    _mark_short(rows, x, y, look, ax)


def _bounding(drawn: Drawn) -> pd.DataFrame:
    """The rows that give the bound its constant; none if there is no bound."""
    table = drawn.table
    if not drawn.comparison.bound or drawn.labels.categories:
        return table.iloc[:0]
    usable = (table["x"] > 0) & (table["n_seeds"] > 0)
    return table[usable & selected(drawn.settings, drawn.comparison.bound)]


def _bound(rows: pd.DataFrame, along: pd.Series, unit: Metric, ax: Axes) -> None:
    """1 - c / sqrt(x) over all x, with the least c that is above no mean of these rows."""
    along = along[along > 0]
    c = ((1 - rows["mean"]) * rows["x"] ** 0.5).max()
    x = np.geomspace(along.min(), along.max(), 200)
    ax.plot(x, unit.factor * (1 - c / x**0.5), **_BOUND, zorder=1.4)


def _mark_short(rows: pd.DataFrame, x: pd.Series, y: pd.Series, look: LossStyle, ax: Axes) -> None:
    short = rows["missing"] > 0
    ax.plot(x[short], y[short], ls="", zorder=4, **_marks(look) | {"mfc": "white", "mew": 1.5})


def _scale(ax: Axes, table: pd.DataFrame, comparison: Comparison) -> None:
    """The x axis, with a tick at every value if they are few."""
    values = np.sort(table["x"].dropna().unique())
    if comparison.log_x:
        # zero has a place on the axis, too
        positive = values[values > 0]
        least = float(positive.min()) if len(positive) else 1.0
        if len(positive) == len(values):
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=least)
    gaps = np.diff(np.log10(values) if comparison.log_x and (values > 0).all() else values)
    apart = len(gaps) == 0 or gaps.min() >= (gaps.sum() / 12)
    if len(values) <= MOST_TICKS and apart:
        ax.set_xticks(values, [show(float(value)) for value in values])
        ax.set_xticks([], minor=True)
    elif not comparison.log_x:
        few_ticks(ax)


def _limits(axes: list[Axes], drawn: Drawn, unit: Metric) -> list[str]:
    """Limits of the axes; returns notes for the caption."""
    estimates = _as_estimates(drawn.table)
    if drawn.comparison.x != "noise":
        estimates = estimates.drop(columns="tie_rate")  # captions name ties by noise rate
    notes = limit_y(axes, estimates, unit)
    if "x_low" in drawn.table:
        across = drawn.table.assign(
            mean=drawn.table["x"], low=drawn.table["x_low"], high=drawn.table["x_high"]
        )
        if axes[0].get_xscale() == "linear":
            notes += limit(axes, across, _unit(drawn.comparison.x), Axes.set_xlim)
        notes.append("Crosses: both intervals.")
    short = drawn.table["missing"] > 0
    if short.any():
        missing = int(drawn.table.loc[short, "missing"].sum())
        notes.append(
            f"Missing cells: {missing}, see {drawn.name}.csv; points with fewer seeds are hollow."
        )
    if "selected" in set(drawn.settings["epoch"]) and len(drawn.comparison.epoch) == 2:
        notes.append("Selected epoch: chosen by noisy validation.")
    if "x_low" not in drawn.table and drawn.table["x"].isna().any():
        notes.append(f"Level lines without markers: cells without {drawn.comparison.x}.")
    if len(_bounding(drawn)):
        bound = drawn.comparison.bound.items()
        at = ", ".join(written(name, value) for name, values in bound for value in values)
        notes.append(f"Bound: 1 - c / sqrt(x), with the least c that holds at {at}.")
    return list(dict.fromkeys(notes))


def _marks(look: LossStyle) -> dict[str, Any]:
    return {"marker": look.marker, "mfc": look.face, "mec": look.color}


def _legend(figure: Figure, looks: dict[str, LossStyle], drawn: Drawn) -> None:
    comparison, joined = drawn.comparison, not drawn.labels.categories
    if list(looks) == [""]:
        return
    handles = [
        Line2D([], [], label=line, **(line_of(look) if joined else {"ls": ""}), **_marks(look))
        for line, look in looks.items()
    ]
    if len(_bounding(drawn)):
        handles.append(Line2D([], [], label="bound", **_BOUND))
    title = "Loss" if "loss" in comparison.lines else None
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, handlelength=3.2, title=title
    )


def _as_estimates(table: pd.DataFrame) -> pd.DataFrame:
    """A table in the columns of `summarise`."""
    return table.rename(columns={"line": "variant"}).assign(noise=table["x"])


def _unit(path: str) -> Metric:
    found = metric_of(path)
    return found if found.title else Metric(path, title=path, low=found.low, high=found.high)


def _x_in_words(comparison: Comparison) -> str:
    if comparison.x == "noise":
        return "the noise rate"
    if "/" not in comparison.x:
        return comparison.x
    title = _unit(comparison.x).title
    # an acronym keeps its capitals
    return title if title[1:2].isupper() else title[0].lower() + title[1:]


def _x_label(comparison: Comparison) -> str:
    if comparison.x == "noise":
        return "Noise rate (share of flipped labels)"
    return _unit(comparison.x).label if "/" in comparison.x else comparison.x
