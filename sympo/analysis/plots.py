"""Figures from estimates: every function takes a frame of `estimates` (and, for one panel, an ax)
and returns what it drew. Only missing cells and cut intervals are computed here, to be said."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.estimates import show
from sympo.analysis.style import LossStyle, ordered, styles

UNITS = {  # metric -> axis label, factor
    "order_accuracy": ("Test order accuracy (%)", 100.0),
    "win_rate": ("Win rate (%)", 100.0),
    "flipped_memorised": ("Flipped training pairs memorised (%)", 100.0),
    "reward_mean": ("Learned reward, standardised", 1.0),
}
PANELS = {"last": "Last epoch", "selected": "Epoch chosen by noisy validation"}
_MOST_LISTED = 6
_DRAWN: Any = {
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


@mpl.rc_context(_DRAWN)
def accuracy_vs_noise(summary: pd.DataFrame) -> Figure:
    """A metric against the noise rate: the last epoch beside the one chosen by noisy validation.

    summary: rows of `summarise` for `last/<metric>`, `selected/<metric>` or both, one experiment.
    """
    metrics = [name for which in PANELS for name in _metrics(summary) if name.startswith(which)]
    figure, axes = _figure(1, len(metrics), width=4.3, height=3.9)
    for ax, metric in zip(axes, metrics, strict=True):
        noise_panel(summary[summary["metric"] == metric], ax)
        ax.set_title(PANELS[metric.split("/")[0]])
    axes[0].set_ylabel(_unit(metrics[0])[0])
    cut = _limit(axes, summary, _unit(metrics[0])[1])
    _legend(figure, summary, markers=True)
    return _explain(figure, summary, f"{_unit(metrics[0])[0]} against noise", cut)


def noise_panel(estimates: pd.DataFrame, ax: Axes) -> Axes:
    """Means and error bars against the noise rate, the losses side by side at each rate.

    A point on fewer seeds than the grid has is hollow and says how many it has.
    """
    factor = _unit(estimates["metric"].iloc[0])[1]
    rates = np.sort(estimates["noise"].unique())
    looks = styles(estimates["variant"])
    step = 0.42 * (np.diff(rates).min() if len(rates) > 1 else 0.1) / max(len(looks), 2)
    for place, (variant, look) in enumerate(looks.items()):
        rows = estimates[(estimates["variant"] == variant) & (estimates["n_seeds"] > 0)]
        x = rows["noise"] + step * (place - (len(looks) - 1) / 2)
        y, half = factor * rows["mean"], factor * (rows["high"] - rows["mean"])
        ax.errorbar(
            x, y, half, fmt="none", ecolor=look.color, elinewidth=1, capsize=2.2, alpha=0.75
        )
        ax.plot(x, y, **_line(look), marker=look.marker, mfc=look.face, mec=look.color)
        short = (rows["missing"] > 0).to_numpy()
        ax.plot(x[short], y[short], ls="", marker=look.marker, mfc="white", mec=look.color, mew=1.5)
        for at, height, n in zip(x[short], y[short], rows["n_seeds"][short], strict=True):
            ax.annotate(
                f"n={n}",
                (at, height),
                xytext=(5, -11),
                textcoords="offset points",
                fontsize=8,
                color=look.color,
                zorder=5,
            )
    ax.set_xticks(rates, [show(float(rate)) for rate in rates])
    ax.set_xlabel("Noise rate (share of flipped labels)")
    return ax


@mpl.rc_context(_DRAWN)
def metric_vs_epochs(curves: pd.DataFrame) -> Figure:
    """A metric against the epoch, a panel per noise rate: mean over seeds and 95% band.

    curves: `curve_estimates` of one experiment.
    """
    return _per_noise(curves, "epoch", "Epoch")


def accuracy_vs_epochs(curves: pd.DataFrame) -> Figure:
    """Test order accuracy in % against the epoch, a panel per noise rate."""
    return metric_vs_epochs(curves)


def memorised_vs_epochs(curves: pd.DataFrame) -> Figure:
    """Share in % of flipped training pairs whose wrong label the model reproduces, by epoch."""
    return metric_vs_epochs(curves)


@mpl.rc_context(_DRAWN)
def reward_vs_digit(rewards: pd.DataFrame) -> Figure:
    """Standardised learned reward of each digit, a panel per noise rate, beside the true reward.

    rewards: `reward_by_item` of one experiment.
    """
    figure = _per_noise(rewards, "item", "Digit")
    digits = np.sort(rewards["item"].dropna().unique())
    for ax in figure.axes:
        true = (digits - digits.mean()) / digits.std()
        ax.plot(digits, true, color="#b0b0b0", linewidth=5, alpha=0.5, zorder=0)
        ax.set_xticks(digits)
    figure.legends[0].remove()
    _legend(figure, rewards, extra=("true reward", Line2D([], [], color="#d0d0d0", linewidth=5)))
    return figure


@mpl.rc_context(_DRAWN)
def loss_gallery(curves: pd.DataFrame) -> Figure:
    """Losses l(z) against the margin z, beside l(z) + l(-z), which is flat where l is symmetric.

    curves: columns loss, z, value = l(z), sum = l(z) + l(-z).
    """
    figure, axes = _figure(1, 2, width=4.3, height=3.9)
    for variant, look in styles(curves["loss"]).items():
        rows = curves[curves["loss"] == variant].sort_values("z")
        for ax, column in zip(axes, ("value", "sum"), strict=True):
            ax.plot(rows["z"], rows[column], **_line(look))
    axes[0].set(title="Loss  $\\ell(z)$", ylabel="Loss", ylim=(-2.2, 5.2))
    axes[1].set(title="$\\ell(z)+\\ell(-z)$: flat = symmetric", ylim=(0, 6.2))
    for ax in axes:
        ax.set_xlabel("Margin  $z$")
    _legend(figure, curves.rename(columns={"loss": "variant"}))
    spread = curves.groupby("loss")["sum"].agg(lambda total: total.max() - total.min())
    flat = ", ".join(ordered(spread.index[spread < 1e-4])) or "none"
    figure.suptitle("Losses of a margin and the test of symmetry")
    _caption(figure, f"Symmetric, $\\ell(z)+\\ell(-z)=K$ for every z: {flat}. Panels are cut off.")
    return figure


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write path.png (150 dpi) and path.pdf, the same bytes each time, and clear the figure."""
    stem = Path(path)
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    figure.savefig(png, dpi=150, metadata={"Software": None})
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    figure.clear()
    return [png, pdf]


def _per_noise(estimates: pd.DataFrame, axis: str, label: str) -> Figure:
    """A panel per noise rate with a value, all on one scale."""
    metric = _metrics(estimates)[0]
    name, factor = _unit(metric)
    rates = np.sort(estimates.loc[estimates["n_seeds"] > 0, "noise"].unique())
    columns = min(len(rates), 3)
    figure, axes = _figure(-(-len(rates) // columns), columns, width=3.1, height=2.7)
    looks = styles(estimates["variant"])
    for ax, rate in zip(axes, rates, strict=False):
        rows = estimates[(estimates["noise"] == rate) & (estimates["n_seeds"] > 0)]
        for place, (variant, look) in enumerate(looks.items()):
            _band(rows[rows["variant"] == variant], axis, factor, look, place, ax)
        ax.set_title(f"noise {show(float(rate))}")
    for ax in axes[len(rates) :]:
        ax.remove()
    axes = axes[: len(rates)]
    for place, ax in enumerate(axes):
        if place + columns >= len(rates):
            ax.set_xlabel(label)
            ax.tick_params(labelbottom=True)
    figure.supylabel(name, fontsize=10.5)
    cut = _limit(axes, estimates, factor)
    _legend(figure, estimates, markers=True)
    return _explain(figure, estimates, f"{name} against {label.lower()}", cut)


def _band(
    rows: pd.DataFrame, axis: str, factor: float, look: LossStyle, place: int, ax: Axes
) -> None:
    if rows.empty:
        return
    x = rows[axis]
    ax.fill_between(
        x, factor * rows["low"], factor * rows["high"], color=look.color, alpha=0.13, linewidth=0
    )
    # markers on every few points, each loss starting elsewhere, so that lines stay apart in grey
    every = max(1, len(rows) // 4)
    ax.plot(
        x,
        factor * rows["mean"],
        **_line(look),
        marker=look.marker,
        markevery=(place % every, every),
        ms=4.5,
        mfc=look.face,
        mec=look.color,
    )


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Panels on one scale; a Figure of its own, so that no backend is chosen and none stays open.

    width, height: of one panel, in inches.
    """
    figure = Figure(figsize=(width * columns + 1.9, height * rows + 0.9), layout="constrained")
    return figure, list(
        figure.subplots(rows, columns, sharex=True, sharey=rows * columns > 2, squeeze=False).flat
    )


def _line(look: LossStyle) -> dict[str, Any]:
    return {"color": look.color, "linestyle": look.line}


def _metrics(estimates: pd.DataFrame) -> list[str]:
    return list(estimates["metric"].unique())


def _unit(metric: str) -> tuple[str, float]:
    name = metric.rsplit("/", 1)[1]
    return UNITS.get(name, (metric, 1.0))


def _limit(axes: Sequence[Axes], estimates: pd.DataFrame, factor: float) -> bool:
    """Scale the y axes to the means and to intervals near them; True where an interval is cut.

    Two seeds can give an interval wider than the whole figure, which would flatten every curve.
    """
    means = factor * estimates["mean"].dropna()
    room = max(0.45 * (means.max() - means.min()), 0.02 * factor)
    floor, ceiling = means.min() - room, means.max() + room
    low, high = factor * estimates["low"].min(), factor * estimates["high"].max()
    bottom, top = np.fmax(floor, low), np.fmin(ceiling, high)
    bottom, top = np.fmin(bottom, means.min()), np.fmax(top, means.max())
    margin = 0.04 * (top - bottom) or 1.0
    for ax in axes:
        ax.set_ylim(bottom - margin, top + margin)
    return bool(low < floor or high > ceiling)


def _legend(
    figure: Figure,
    estimates: pd.DataFrame,
    markers: bool = False,
    extra: tuple[str, Line2D] | None = None,
) -> None:
    handles, labels = [], []
    for variant, look in styles(estimates["variant"]).items():
        shape = {"marker": look.marker, "mfc": look.face, "mec": look.color} if markers else {}
        handles.append(Line2D([], [], **_line(look), **shape))
        labels.append(variant)
    if extra is not None:
        labels.append(extra[0])
        handles.append(extra[1])
    figure.legend(
        handles, labels, loc="outside right upper", frameon=False, handlelength=3.2, title="Loss"
    )


def _explain(figure: Figure, estimates: pd.DataFrame, what: str, cut: bool) -> Figure:
    """Title: what is drawn, of which experiment. Caption: the interval, and what is not there."""
    figure.suptitle(f"{what}\n{title(estimates)}")
    parts = [_interval_text(estimates)]
    if cut:
        parts.append("Intervals that leave the panel are cut off.")
    if missing := _missing_text(estimates):
        parts.append(missing)
    _caption(figure, " ".join(parts))
    return figure


def title(estimates: pd.DataFrame) -> str:
    """The experiment of the estimates: data set, noise model and the settings that differ."""
    first = estimates.iloc[0]
    leaves = list(estimates.columns[3 : estimates.columns.get_loc("loss")])  # type: ignore[misc]
    parts = [f"{first['dataset']}, {first['noise_model']} noise, {first['job']}"]
    parts += [f"{leaf} = {show(first[leaf])}" for leaf in leaves if pd.notna(first[leaf])]
    return ", ".join(parts)


def _interval_text(estimates: pd.DataFrame) -> str:
    drawn = estimates[estimates["n_seeds"] > 0]
    kinds = set(drawn["interval"])
    sentences = []
    if "student_t" in kinds:
        n = drawn.loc[drawn["interval"] == "student_t", "n_seeds"]
        seeds = f"{n.max()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        sentences.append(f"Mean and 95% Student t interval over {seeds} seeds.")
    if "test_pairs" in kinds:
        sentences.append("One seed: 95% interval over the test pairs only.")
    if "none" in kinds:
        sentences.append(
            "One seed: no interval." if len(kinds) == 1 else "Some points: one seed, no interval."
        )
    return " ".join(sentences)


def _missing_text(estimates: pd.DataFrame) -> str:
    """Which cells of the grid are not there, by loss and noise rate."""
    rows = estimates[estimates["missing"] > 0].drop_duplicates(["variant", "noise"])
    if rows.empty:
        return ""
    listed = [
        f"{variant} at {show(float(rate))} ({missing})"
        for variant, rate, missing in zip(
            rows["variant"], rows["noise"], rows["missing"], strict=True
        )
    ]
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return (
        f"Missing cells: {int(rows['missing'].sum())}, of {', '.join(listed[:_MOST_LISTED])}{more}."
    )


def _caption(figure: Figure, text: str) -> None:
    width = int(figure.get_figwidth() * 13.5)
    figure.supxlabel(
        "\n".join(textwrap.wrap(text, width)), x=0.01, ha="left", fontsize=9, color="#444444"
    )
