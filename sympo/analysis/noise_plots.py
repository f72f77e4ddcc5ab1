"""Figures of a metric against the noise rate."""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from sympo.analysis.canvas import (
    DRAWN,
    baseline_handles,
    explain,
    legend,
    limit_y,
    line_of,
    metrics_in,
    panels,
    step_aside,
)
from sympo.analysis.frames import show
from sympo.analysis.paper_values import COLUMN
from sympo.analysis.style import styles
from sympo.metrics import EPOCHS, Metric, metric_of


@mpl.rc_context(DRAWN)
def accuracy_vs_noise(summary: pd.DataFrame, unit: Metric | None = None) -> Figure:
    """A metric against the noise rate: the last epoch beside the one chosen by noisy validation.

    summary: rows of `summarise` for `last/<metric>`, `selected/<metric>` or both, one experiment.
    unit: the metric, if its name does not determine it.
    """
    unit = unit or metric_of(summary["metric"].iloc[0])
    metrics = [name for which in EPOCHS for name in metrics_in(summary) if name.startswith(which)]
    figure, axes = panels(1, len(metrics), width=4.3, height=3.9)
    for ax, metric in zip(axes, metrics, strict=True):
        noise_panel(summary[summary["metric"] == metric], ax)
        ax.set_title(EPOCHS[metric.split("/")[0]])
    axes[0].set_ylabel("\n".join(textwrap.wrap(unit.label, 40, break_long_words=False)))
    notes = limit_y(axes, summary, unit)
    if ((summary["missing"] > 0) & (summary["n_seeds"] > 0)).any():
        notes.append("Hollow points rest on fewer seeds.")
    if unit.diagonal:
        notes.append(_mark_noise(axes, summary, unit))
    if COLUMN in summary:
        notes.append(_mark_paper(axes, metrics, summary, unit))
    legend(figure, summary, *baseline_handles(summary, unit))
    return explain(figure, summary, f"{unit.title} against the noise rate", notes)


def _mark_noise(axes: list[Axes], summary: pd.DataFrame, unit: Metric) -> str:
    """Draw the noise rate itself into every panel; returns a note for the caption."""
    rates = np.sort(summary["noise"].unique())
    for ax in axes:
        low, high = ax.get_ylim()
        ax.plot(rates, unit.factor * rates, color="#9a9a9a", linewidth=1.2, zorder=1)
        ax.set_ylim(low, max(high, unit.factor * rates.max() + 0.04 * (high - low)))
    return "Grey line: the true rate."


def _mark_paper(
    axes: Sequence[Axes], metrics: Sequence[str], summary: pd.DataFrame, unit: Metric
) -> str:
    """Draw the paper's numbers into the panels of their metrics; returns a note for the caption."""
    looks = styles(summary["variant"])
    for ax, metric in zip(axes, metrics, strict=True):
        rows = summary[(summary["metric"] == metric) & summary[COLUMN].notna()]
        for variant, own in rows.groupby("variant"):
            color, y = looks[str(variant)].color, unit.factor * own[COLUMN]
            ax.plot(own["noise"], y, "D", ms=8, mfc="none", mec=color, mew=1.4, zorder=4)
            low, high = ax.get_ylim()
            margin = 0.04 * (high - low)
            ax.set_ylim(min(low, y.min() - margin), max(high, y.max() + margin))
    sources = ", ".join(sorted(summary[f"{COLUMN}_source"].dropna().unique()))
    return f"Hollow diamonds: numbers of the paper ({sources})."


def noise_panel(estimates: pd.DataFrame, ax: Axes) -> Axes:
    """Means and error bars against the noise rate, losses side by side at each rate.

    Points with missing seeds are hollow and labelled with their number of seeds.
    """
    factor = metric_of(estimates["metric"].iloc[0]).factor
    rates = np.unique(estimates["noise"])
    looks = styles(estimates["variant"])
    step = step_aside(rates, len(looks))
    for place, (variant, look) in enumerate(looks.items()):
        rows = estimates[(estimates["variant"] == variant) & (estimates["n_seeds"] > 0)]
        x = rows["noise"] + step * (place - (len(looks) - 1) / 2)
        y = factor * rows["mean"]
        ends = [y - factor * rows["low"], factor * rows["high"] - y]
        ax.errorbar(
            x, y, ends, fmt="none", ecolor=look.color, elinewidth=1, capsize=2.2, alpha=0.75
        )
        ax.plot(x, y, **line_of(look), marker=look.marker, mfc=look.face, mec=look.color)
        short = (rows["missing"] > 0).to_numpy()
        ax.plot(x[short], y[short], ls="", marker=look.marker, mfc="white", mec=look.color, mew=1.5)
        for at, height, n in zip(x[short], y[short], rows["n_seeds"][short], strict=True):
            ax.annotate(
                f"n={n}",
                (at, height),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=8.5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                zorder=5,
            )
    ax.set_xticks(rates, [show(float(rate)) for rate in rates])
    ax.set_xlabel("Noise rate (share of flipped labels)")
    return ax
