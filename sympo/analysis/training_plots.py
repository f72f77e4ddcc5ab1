"""Figures along training: a metric against the epoch and against KL, and learned rewards."""

import textwrap
from collections.abc import Callable
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.canvas import (
    DRAWN,
    baseline_handles,
    explain,
    few_ticks,
    legend,
    limit,
    limit_y,
    line_of,
    metrics_in,
    panels,
)
from sympo.analysis.frames import show
from sympo.analysis.style import LossStyle, styles
from sympo.metrics import KL, metric_of

# levels of the true reward that are all marked
MOST_LEVELS = 10


@mpl.rc_context(DRAWN)
def metric_vs_epochs(curves: pd.DataFrame) -> Figure:
    """A metric against the epoch, a panel per noise rate: mean over seeds and 95% band.

    curves: `curve_estimates` of one experiment.
    """
    return _bands(curves, "epoch", "Epoch")


@mpl.rc_context(DRAWN)
def metric_vs_kl(trails: pd.DataFrame) -> Figure:
    """A metric against the KL to the reference along training, a panel per noise rate.

    trails: `against_kl` of one experiment.
    """
    last = trails.groupby(["variant", "noise"])["epoch"].transform("max") == trails["epoch"]
    ends = ["low", "high", "kl_low", "kl_high"]
    trails = trails.assign(**{end: trails[end].where(last) for end in ends})  # drawn only there
    figure, axes = _per_noise(trails, _trail, metric_of(KL).label)
    notes = ["A line follows training: dots are evaluations, the marker is the last one."]
    if trails[ends].notna().any(axis=None):
        notes.append("Only there the intervals are drawn, as a cross.")
    if "prompts" in set(trails["kl_interval"]) - set(trails["interval"]):
        notes.append("That of KL is 1.96 standard errors.")
    across = trails.assign(mean=trails["kl"], low=trails["kl_low"], high=trails["kl_high"])
    unit = metric_of(metrics_in(trails)[0])
    notes += limit(axes, across, metric_of(KL), Axes.set_xlim)
    notes += [note for note in limit_y(axes, trails, unit) if note not in notes]
    if ((trails["missing"] > 0) & (trails["n_seeds"] > 0)).any():
        notes.append("Hollow markers rest on fewer seeds.")
    legend(figure, trails)
    return explain(figure, trails, f"{unit.title} against KL along training", notes)


@mpl.rc_context(DRAWN)
def reward_vs_digit(rewards: pd.DataFrame) -> Figure:
    """Standardised learned reward against the true reward, which of an image of a digit is the
    digit; a panel per noise rate, beside the true reward itself.

    rewards: `reward_by_item` of one experiment.
    """
    truth = Line2D([], [], color="#9a9a9a", linewidth=6, alpha=0.45, label="true reward")
    items = np.sort(rewards["item"].dropna().unique())
    figure = _bands(rewards, "item", "True reward", truth)
    for ax in figure.axes:
        true = (items - items.mean()) / items.std()
        ax.plot(items, true, color=truth.get_color(), linewidth=6, alpha=0.45, zorder=1.5)
        low, high = ax.get_ylim()
        # the line is thick: its ends need room
        ax.set_ylim(min(low, true.min() - 0.1), max(high, true.max() + 0.1))
        if len(items) <= MOST_LEVELS and np.array_equal(items, np.round(items)):
            ax.set_xticks(items)
    return figure


def _bands(estimates: pd.DataFrame, axis: str, label: str, *extra: Line2D) -> Figure:
    """Means and shaded intervals along an axis, a panel per noise rate."""
    figure, axes = _per_noise(estimates, partial(band, axis=axis), label)
    unit = metric_of(metrics_in(estimates)[0])
    notes = limit_y(axes, estimates, unit)
    if ((estimates["missing"] > 0) & (estimates["n_seeds"] > 0)).any():
        notes.append("Outlined instead of shaded: fewer seeds.")
    legend(figure, estimates, *baseline_handles(estimates, unit), *extra)
    return explain(figure, estimates, f"{unit.title} by {label.lower()}", notes)


def _per_noise(
    estimates: pd.DataFrame, draw: Callable[..., None], label: str
) -> tuple[Figure, list[Axes]]:
    """A panel per noise rate with a value, all on one scale; `draw` adds a loss to a panel."""
    unit = metric_of(metrics_in(estimates)[0])
    rates = np.sort(estimates.loc[estimates["n_seeds"] > 0, "noise"].unique())
    lines = -(-len(rates) // 3)
    columns = -(-len(rates) // lines)
    figure, axes = panels(lines, columns, width=3.1, height=2.7)
    looks = styles(estimates["variant"])
    for ax, rate in zip(axes, rates, strict=False):
        rows = estimates[(estimates["noise"] == rate) & (estimates["n_seeds"] > 0)]
        for place, (variant, look) in enumerate(looks.items()):
            draw(rows[rows["variant"] == variant], unit.factor, look, place, ax)
        ax.set_title(f"noise {show(float(rate))}")
        few_ticks(ax)
    for ax in axes[len(rates) :]:
        ax.remove()
    for ax in axes[max(len(rates) - columns, 0) : len(rates)]:
        ax.set_xlabel(label)
        ax.tick_params(labelbottom=True)
    written = textwrap.wrap(unit.label, int(9 * figure.get_figheight()))
    figure.supylabel("\n".join(written), fontsize=10.5)
    return figure, axes[: len(rates)]


def band(
    rows: pd.DataFrame, factor: float, look: LossStyle, place: int, ax: Axes, *, axis: str
) -> None:
    """Add a loss to a panel: the mean with a shaded 95% interval along an axis."""
    if rows.empty:
        return
    x, mean, low, high = rows[axis], *(factor * rows[name] for name in ("mean", "low", "high"))
    if (rows["missing"] > 0).any():
        ax.plot(x, low, x, high, color=look.color, linewidth=0.7, alpha=0.7)
    else:
        ax.fill_between(x, low, high, color=look.color, alpha=0.12, linewidth=0)
    # markers on every few points, each loss with its own offset, so that lines differ in grey print
    every = max(1, len(rows) // 4)
    ax.plot(
        x,
        mean,
        **line_of(look),
        marker=look.marker,
        markevery=(place % every, every),
        ms=4.5,
        mfc=look.face,
        mec=look.color,
    )


def _trail(rows: pd.DataFrame, factor: float, look: LossStyle, place: int, ax: Axes) -> None:
    """One loss along training: a dot per epoch, marker and cross at the last one."""
    if rows.empty:
        return
    rows = rows.sort_values("epoch")
    x, y, end = rows["kl"], factor * rows["mean"], rows.iloc[-1]
    ax.plot(x, y, **line_of(look), linewidth=1.2, marker=".", ms=3.5, alpha=0.9)
    at, height = end["kl"], factor * end["mean"]
    ax.errorbar(
        at,
        height,
        xerr=[[at - end["kl_low"]], [end["kl_high"] - at]],
        yerr=[[height - factor * end["low"]], [factor * end["high"] - height]],
        fmt="none",
        ecolor=look.color,
        elinewidth=0.9,
        alpha=0.45,
    )
    face = "white" if end["missing"] else look.face
    ax.plot([at], [height], ls="", marker=look.marker, ms=6.5, mfc=face, mec=look.color, zorder=4)
