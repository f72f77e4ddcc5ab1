"""What all figures share: panels, scales, legends, titles, captions, and how they are saved."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sympo.analysis.baselines import BASELINES, baseline_values
from sympo.analysis.captions import interval_text, missing_text, ties, title
from sympo.analysis.frames import show
from sympo.analysis.style import LossStyle, styles
from sympo.metrics import Metric

DRAWN: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.5,
    "figure.titlesize": 12,
    "legend.fontsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
}
ON_THE_SAME_PAIRS = (
    "Lines without markers: baselines on the same test pairs, TF-IDF trained on the same training "
    "pairs without flips."
)


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Panels on one scale, on a bare Figure: pyplot would pick a backend and keep figures open.

    width, height: of one panel, in inches.
    """
    figure = Figure(figsize=(width * columns + 1.9, height * rows + 0.9), layout="constrained")
    return figure, list(
        figure.subplots(rows, columns, sharex=True, sharey=rows * columns > 2, squeeze=False).flat
    )


def few_ticks(ax: Axes) -> None:
    """Give the x axis at most six ticks, with labels short enough for a panel."""
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter("{x:g}")


def line_of(look: LossStyle) -> dict[str, Any]:
    return {"color": look.color, "linestyle": look.line}


def step_aside(values: npt.ArrayLike, lines: int) -> float:
    """How far along x each of several lines lies from the next, so that intervals at the same value
    do not cover each other: 0.42 of the least gap between values over the number of lines.

    Of a gap, at least a fortieth and at most a quarter of the range counts.
    """
    found, gap = np.unique(values), 0.1
    if len(found) > 1:
        extent = np.ptp(found)
        gap = float(np.clip(np.diff(found).min(), extent / 40, extent / 4))
    return 0.42 * gap / max(lines, 2)


def metrics_in(estimates: pd.DataFrame) -> list[str]:
    return list(estimates["metric"].unique())


def limit_y(axes: Sequence[Axes], estimates: pd.DataFrame, unit: Metric) -> list[str]:
    """`limit` of the y axes, with the metric's baselines or line; returns notes for the caption."""
    notes = limit(axes, estimates, unit, Axes.set_ylim)
    beside = baseline_values(estimates, unit)
    for name, value in beside.items():
        for ax in axes:
            ax.axhline(value, **_baseline_line(name), zorder=1)
    if beside:
        notes.append(ON_THE_SAME_PAIRS)
    elif unit.line is not None:
        for ax in axes:
            ax.axhline(unit.line, color="#9a9a9a", linewidth=1.2, zorder=1)
        notes.append(f"Grey line: {show(unit.line)}{unit.unit}.")
    seeds = unit.over_seeds * ("student_t" in set(estimates["interval"]))
    if tied := ties(estimates):
        notes.append(f"{tied[0].upper()}{tied[1:]}.")
    return [*notes, *filter(None, [unit.note, seeds])]


def limit(
    axes: Sequence[Axes],
    estimates: pd.DataFrame,
    unit: Metric,
    set_limits: Callable[[Axes, float, float], object],
) -> list[str]:
    """Scale the axes to the means and nearby intervals; returns a note if an interval is cut.

    Two seeds can give an interval wider than all means together, which would flatten every curve.
    """
    least, most = unit.written_range
    drawn = estimates[estimates["n_seeds"] > 0]
    mean, low, high = (unit.factor * drawn[name].to_numpy() for name in ("mean", "low", "high"))
    of_one_seed = (high - low)[drawn["n_seeds"] == 1] / 2
    room = np.nanmax([0.4 * np.ptp(mean), 0.02 * unit.factor, *of_one_seed])
    bottom = max(np.nanmin([*low, *mean]), mean.min() - room, least)
    top = min(np.nanmax([*high, *mean]), mean.max() + room, most)
    # an estimate can lie outside the range of true values
    bottom, top = min(bottom, mean.min()), max(top, mean.max())
    lines = [
        *baseline_values(estimates, unit).values(),
        *([] if unit.line is None else [unit.line]),
    ]
    bottom, top = min([bottom, *lines]), max([top, *lines])
    margin = 0.04 * (top - bottom) or 1.0
    for ax in axes:
        set_limits(ax, bottom - margin, top + margin)
    cut = (low < bottom - margin).any() or (high > top + margin).any()
    return ["Intervals that leave the panel are cut off."] if cut else []


def legend(figure: Figure, estimates: pd.DataFrame, *extra: Line2D, marked: bool = True) -> None:
    handles = [
        Line2D(
            [],
            [],
            **line_of(look),
            marker=look.marker if marked else "",
            markerfacecolor=look.face,
            markeredgecolor=look.color,
            label=variant,
        )
        for variant, look in styles(estimates["variant"]).items()
    ]
    figure.legend(
        handles=[*handles, *extra],
        loc="outside right center",
        frameon=False,
        handlelength=3.2,
        title="Loss",
    )


def baseline_handles(estimates: pd.DataFrame, unit: Metric) -> list[Line2D]:
    """A legend entry with its value for each baseline of the metric."""
    return [
        Line2D(
            [], [], **_baseline_line(name), label=f"{BASELINES[name].title} {value:.1f}{unit.unit}"
        )
        for name, value in baseline_values(estimates, unit).items()
    ]


def _baseline_line(name: str) -> dict[str, Any]:
    look = BASELINES[name]
    return {"color": look.color, "linestyle": look.line, "linewidth": look.width}


def explain(figure: Figure, estimates: pd.DataFrame, what: str, notes: list[str]) -> Figure:
    """Title: the figure and its experiment. Caption: the interval, notes, and missing cells."""
    head(figure, what, title(estimates))
    caption(figure, " ".join([interval_text(estimates), *notes, missing_text(estimates)]))
    return figure


def head(figure: Figure, what: str, experiment: str) -> None:
    """Set the title, wrapped to the figure's width, and the whole text as the figure's label."""
    figure.set_label(f"{what}: {experiment}")
    width = int(figure.get_figwidth() * 11)
    lines = textwrap.wrap(what, width)
    if len(lines) > 1:  # of similar length
        lines = textwrap.wrap(what, len(what) // len(lines) + 8)
    figure.suptitle("\n".join([*lines, *textwrap.wrap(experiment, width)]))


def caption(figure: Figure, text: str) -> None:
    """Set the text below the panels, wrapped to the figure's width."""
    width = int(figure.get_figwidth() * 13.5)
    figure.supxlabel(
        "\n".join(textwrap.wrap(text, width)), x=0.01, ha="left", fontsize=9, color="#444444"
    )


def mark(figure: Figure, note: str) -> None:
    """Put a note before the caption."""
    caption(figure, " ".join([note, *figure.get_supxlabel().split()]))


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write path.png (150 dpi) and path.pdf, the same bytes each time, and clear the figure."""
    stem = Path(path)
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    figure.savefig(png, dpi=150, metadata={"Software": None})
    with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)  # the PDF keeps the layout of the PNG
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    figure.clear()
    return [png, pdf]
