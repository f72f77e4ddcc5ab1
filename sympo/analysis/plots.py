"""Figures from estimates: every function takes a frame of `estimates` (and, for one panel, an ax)
and returns what it drew. Only missing cells and cut intervals are computed here, to be said."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from sympo.analysis.frames import show
from sympo.analysis.style import LossStyle, ordered, styles


@dataclass(frozen=True)
class Unit:
    """How a metric is written: its name, unit, factor from stored to drawn, range it can take,
    the value worth a line of its own, and what a reader should know of it: always, and where its
    interval is over seeds."""

    name: str
    unit: str = ""
    factor: float = 1.0
    floor: float = -np.inf
    ceiling: float = np.inf
    line: float | None = None
    note: str = ""
    over_seeds: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


UNITS = {
    "order_accuracy": Unit("Test order accuracy", "%", 100.0, 0.0, 100.0),
    "label_accuracy": Unit(
        "Accuracy on test labels as released",
        "%",
        100.0,
        0.0,
        100.0,
        line=50.0,
        note="The test labels are as released: they are noisy themselves, so that 100% cannot be "
        "reached.",
        over_seeds="All seeds have the same test pairs: the interval says how training varies, not "
        "what other pairs would give.",
    ),
    "implicit_accuracy": Unit("Implicit reward accuracy", "%", 100.0, 0.0, 100.0, line=50.0),
    "win_rate": Unit("Win rate over the reference", "%", 100.0, 0.0, 100.0, line=50.0),
    "win_rate_chosen": Unit("Win rate over the chosen answers", "%", 100.0, 0.0, 100.0, line=50.0),
    "gold_reward": Unit("Gold reward"),
    "kl": Unit("KL to the reference", "nats per answer", floor=0.0),
    "flipped_memorised": Unit("Share of flipped training pairs memorised", "%", 100.0, 0.0, 100.0),
    "reward_mean": Unit("Learned reward", "standard deviations"),
}
PANELS = {"last": "Last epoch", "selected": "Epoch chosen by noisy validation"}
_ONE_SEED = {
    "test_pairs": "One seed: 95% interval over the test pairs only.",
    "prompts": "One seed: 95% interval (1.96 standard errors) over the prompts only.",
    "bootstrap_test_pairs": "One seed: 95% bootstrap interval over the test pairs only.",
    "bootstrap_prompts": "One seed: 95% bootstrap interval over the prompts only.",
}
_MOST_LISTED = 6
# of the test pairs, above which a figure and a table say how many there are
MOST_TIES = 0.01
TWO_SEEDS = "two seeds are too few for a t interval, whose factor is 12.7"
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


@mpl.rc_context(DRAWN)
def accuracy_vs_noise(summary: pd.DataFrame, unit: Unit | None = None) -> Figure:
    """A metric against the noise rate: the last epoch beside the one chosen by noisy validation.

    summary: rows of `summarise` for `last/<metric>`, `selected/<metric>` or both, one experiment.
    unit: how the metric is written, where its name alone does not say it.
    """
    unit = unit or _unit(summary["metric"].iloc[0])
    metrics = [name for which in PANELS for name in _metrics(summary) if name.startswith(which)]
    figure, axes = _figure(1, len(metrics), width=4.3, height=3.9)
    for ax, metric in zip(axes, metrics, strict=True):
        noise_panel(summary[summary["metric"] == metric], ax)
        ax.set_title(PANELS[metric.split("/")[0]])
    axes[0].set_ylabel("\n".join(textwrap.wrap(unit.label, 40, break_long_words=False)))
    notes = _limit_y(axes, summary, unit)
    if ((summary["missing"] > 0) & (summary["n_seeds"] > 0)).any():
        notes.append("Hollow points rest on fewer seeds.")
    _legend(figure, summary)
    return _explain(figure, summary, f"{unit.name} against the noise rate", notes)


def noise_panel(estimates: pd.DataFrame, ax: Axes) -> Axes:
    """Means and error bars against the noise rate, the losses side by side at each rate.

    A point on fewer seeds than the grid has is hollow and says how many it has.
    """
    factor = _unit(estimates["metric"].iloc[0]).factor
    rates = np.sort(estimates["noise"].unique())
    looks = styles(estimates["variant"])
    step = 0.42 * (np.diff(rates).min() if len(rates) > 1 else 0.1) / max(len(looks), 2)
    for place, (variant, look) in enumerate(looks.items()):
        rows = estimates[(estimates["variant"] == variant) & (estimates["n_seeds"] > 0)]
        x = rows["noise"] + step * (place - (len(looks) - 1) / 2)
        y = factor * rows["mean"]
        ends = [y - factor * rows["low"], factor * rows["high"] - y]
        ax.errorbar(
            x, y, ends, fmt="none", ecolor=look.color, elinewidth=1, capsize=2.2, alpha=0.75
        )
        ax.plot(x, y, **_line(look), marker=look.marker, mfc=look.face, mec=look.color)
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


@mpl.rc_context(DRAWN)
def metric_vs_epochs(curves: pd.DataFrame) -> Figure:
    """A metric against the epoch, a panel per noise rate: mean over seeds and 95% band.

    curves: `curve_estimates` of one experiment.
    """
    return _bands(curves, "epoch", "Epoch")


def accuracy_vs_epochs(curves: pd.DataFrame) -> Figure:
    """Test order accuracy in % against the epoch, a panel per noise rate."""
    return metric_vs_epochs(curves)


def memorised_vs_epochs(curves: pd.DataFrame) -> Figure:
    """Share in % of flipped training pairs whose wrong label the model reproduces, by epoch."""
    return metric_vs_epochs(curves)


@mpl.rc_context(DRAWN)
def metric_vs_kl(trails: pd.DataFrame) -> Figure:
    """A metric against the KL to the reference along training, a panel per noise rate.

    trails: `against_kl` of one experiment.
    """
    last = trails.groupby(["variant", "noise"])["epoch"].transform("max") == trails["epoch"]
    ends = ["low", "high", "kl_low", "kl_high"]
    trails = trails.assign(**{end: trails[end].where(last) for end in ends})  # drawn there alone
    figure, axes = _per_noise(trails, _trail, UNITS["kl"].label)
    notes = ["A line follows training: dots are evaluations, the marker is the last one."]
    if trails[ends].notna().any(axis=None):
        notes.append("Only there the intervals are drawn, as a cross.")
    if "prompts" in set(trails["kl_interval"]) - set(trails["interval"]):
        notes.append("That of KL is 1.96 standard errors.")
    across = trails.assign(mean=trails["kl"], low=trails["kl_low"], high=trails["kl_high"])
    unit = _unit(_metrics(trails)[0])
    notes += _limit(axes, across, UNITS["kl"], Axes.set_xlim)
    notes += [note for note in _limit_y(axes, trails, unit) if note not in notes]
    if ((trails["missing"] > 0) & (trails["n_seeds"] > 0)).any():
        notes.append("Hollow markers rest on fewer seeds.")
    _legend(figure, trails)
    return _explain(figure, trails, f"{unit.name} against KL along training", notes)


@mpl.rc_context(DRAWN)
def reward_vs_digit(rewards: pd.DataFrame) -> Figure:
    """Standardised learned reward against the true reward (digits: the digit), a panel per noise
    rate, beside the true reward itself.

    rewards: `reward_by_item` of one experiment.
    """
    truth = Line2D([], [], color="#9a9a9a", linewidth=6, alpha=0.45, label="true reward")
    items = np.sort(rewards["item"].dropna().unique())
    label = "Digit" if np.array_equal(items, np.arange(10)) else "True reward"
    figure = _bands(rewards, "item", label, truth)
    for ax in figure.axes:
        true = (items - items.mean()) / items.std()
        ax.plot(items, true, color=truth.get_color(), linewidth=6, alpha=0.45, zorder=1.5)
        if np.array_equal(items, np.round(items)):
            ax.set_xticks(items)
    return figure


@mpl.rc_context(DRAWN)
def loss_gallery(curves: pd.DataFrame) -> Figure:
    """Losses l(z) against the margin z, beside l(z) + l(-z), which is flat where l is symmetric.

    curves: columns loss, z, value = l(z), sum = l(z) + l(-z).
    """
    figure, axes = _figure(1, 2, width=4.3, height=3.9)
    for place, (loss, look) in enumerate(styles(curves["loss"]).items()):
        rows = curves[curves["loss"] == loss].sort_values("z")
        axes[0].plot(rows["z"], rows["value"], **_line(look))
        # symmetric sums can be one line (sigmoid and ramp both give 1): the first ones are wider
        width = max(5.0 - 2.2 * place, 1.6) if look.family else 1.6
        axes[1].plot(rows["z"], rows["sum"], **_line(look), linewidth=width)
    axes[0].set(title="Loss  $\\ell(z)$", ylabel="Loss", ylim=(-2.2, 5.2))
    axes[1].set(title="$\\ell(z)+\\ell(-z)$: flat = symmetric", ylim=(0, 6.2))
    for ax in axes:
        ax.set_xlabel("Margin  $z$")
    _legend(figure, curves.rename(columns={"loss": "variant"}), marked=False)
    spread = curves.groupby("loss")["sum"].agg(lambda total: total.max() - total.min())
    flat = ", ".join(ordered(spread.index[spread < 1e-4])) or "none"
    figure.suptitle("Losses of a margin and the test of symmetry")
    caption(
        figure,
        f"Symmetric, $\\ell(z)+\\ell(-z)=K$ for every z: {flat}. "
        "Curves that leave a panel are cut off.",
    )
    return figure


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write path.png (150 dpi) and path.pdf, the same bytes each time, and clear the figure."""
    stem = Path(path)
    png, pdf = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".pdf")
    figure.savefig(png, dpi=150, metadata={"Software": None})
    figure.set_layout_engine("none")  # the layout of the first drawing holds for the second
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    figure.clear()
    return [png, pdf]


def _bands(estimates: pd.DataFrame, axis: str, label: str, *extra: Line2D) -> Figure:
    """Means and shaded intervals along an axis, a panel per noise rate."""
    figure, axes = _per_noise(estimates, partial(_band, axis=axis), label)
    unit = _unit(_metrics(estimates)[0])
    notes = _limit_y(axes, estimates, unit)
    if ((estimates["missing"] > 0) & (estimates["n_seeds"] > 0)).any():
        notes.append("Outlined instead of shaded: fewer seeds.")
    _legend(figure, estimates, *extra)
    return _explain(figure, estimates, f"{unit.name} by {label.lower()}", notes)


def _per_noise(
    estimates: pd.DataFrame, draw: Callable[..., None], label: str
) -> tuple[Figure, list[Axes]]:
    """A panel per noise rate with a value, all on one scale; `draw` puts one loss into one."""
    unit = _unit(_metrics(estimates)[0])
    rates = np.sort(estimates.loc[estimates["n_seeds"] > 0, "noise"].unique())
    lines = -(-len(rates) // 3)
    columns = -(-len(rates) // lines)
    figure, axes = _figure(lines, columns, width=3.1, height=2.7)
    looks = styles(estimates["variant"])
    for ax, rate in zip(axes, rates, strict=False):
        rows = estimates[(estimates["noise"] == rate) & (estimates["n_seeds"] > 0)]
        for place, (variant, look) in enumerate(looks.items()):
            draw(rows[rows["variant"] == variant], unit.factor, look, place, ax)
        ax.set_title(f"noise {show(float(rate))}")
    for ax in axes[len(rates) :]:
        ax.remove()
    for ax in axes[max(len(rates) - columns, 0) : len(rates)]:
        ax.set_xlabel(label)
        ax.tick_params(labelbottom=True)
    written = textwrap.wrap(unit.label, int(9 * figure.get_figheight()))
    figure.supylabel("\n".join(written), fontsize=10.5)
    return figure, axes[: len(rates)]


def _band(
    rows: pd.DataFrame, factor: float, look: LossStyle, place: int, ax: Axes, *, axis: str
) -> None:
    if rows.empty:
        return
    x, mean, low, high = rows[axis], *(factor * rows[name] for name in ("mean", "low", "high"))
    if (rows["missing"] > 0).any():
        ax.plot(x, low, x, high, color=look.color, linewidth=0.7, alpha=0.7)
    else:
        ax.fill_between(x, low, high, color=look.color, alpha=0.12, linewidth=0)
    # markers on every few points, each loss starting elsewhere, so that lines stay apart in grey
    every = max(1, len(rows) // 4)
    ax.plot(
        x,
        mean,
        **_line(look),
        marker=look.marker,
        markevery=(place % every, every),
        ms=4.5,
        mfc=look.face,
        mec=look.color,
    )


def _trail(rows: pd.DataFrame, factor: float, look: LossStyle, place: int, ax: Axes) -> None:
    """The way of one loss along training: a dot per epoch, marker and cross at the last one."""
    if rows.empty:
        return
    rows = rows.sort_values("epoch")
    x, y, end = rows["kl"], factor * rows["mean"], rows.iloc[-1]
    ax.plot(x, y, **_line(look), linewidth=1.2, marker=".", ms=3.5, alpha=0.9)
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


def _unit(metric: str) -> Unit:
    return UNITS.get(metric.rsplit("/", 1)[1], Unit(metric))


def _limit_y(axes: Sequence[Axes], estimates: pd.DataFrame, unit: Unit) -> list[str]:
    """`_limit` of the y axes, with the line of the unit; the notes that all of them ask for."""
    notes = _limit(axes, estimates, unit, Axes.set_ylim)
    if unit.line is not None:
        for ax in axes:
            ax.axhline(unit.line, color="#9a9a9a", linewidth=1.2, zorder=1)
        notes.append(f"Grey line: {show(unit.line)}{unit.unit}.")
    seeds = unit.over_seeds * ("student_t" in set(estimates["interval"]))
    if tied := ties(estimates):
        notes.append(f"{tied[0].upper()}{tied[1:]}.")
    return [*notes, *filter(None, [unit.note, seeds])]


def _limit(
    axes: Sequence[Axes],
    estimates: pd.DataFrame,
    unit: Unit,
    set_limits: Callable[[Axes, float, float], object],
) -> list[str]:
    """Scale the axes to the means and to intervals near them; say where an interval is cut.

    Two seeds can give an interval wider than the whole figure, which would flatten every curve.
    """
    drawn = estimates[estimates["n_seeds"] > 0]
    mean, low, high = (unit.factor * drawn[name].to_numpy() for name in ("mean", "low", "high"))
    of_one_seed = (high - low)[drawn["n_seeds"] == 1] / 2
    room = np.nanmax([0.4 * np.ptp(mean), 0.02 * unit.factor, *of_one_seed])
    bottom = max(np.nanmin([*low, *mean]), mean.min() - room, unit.floor)
    top = min(np.nanmax([*high, *mean]), mean.max() + room, unit.ceiling)
    # an estimate can lie outside of what the true value can be
    bottom, top = min(bottom, mean.min()), max(top, mean.max())
    if unit.line is not None:
        bottom, top = min(bottom, unit.line), max(top, unit.line)
    margin = 0.04 * (top - bottom) or 1.0
    for ax in axes:
        set_limits(ax, bottom - margin, top + margin)
    cut = (low < bottom - margin).any() or (high > top + margin).any()
    return ["Intervals that leave the panel are cut off."] if cut else []


def _legend(figure: Figure, estimates: pd.DataFrame, *extra: Line2D, marked: bool = True) -> None:
    handles = [
        Line2D(
            [],
            [],
            **_line(look),
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


def _explain(figure: Figure, estimates: pd.DataFrame, what: str, notes: list[str]) -> Figure:
    """Title: what is drawn, of which experiment. Caption: the interval, and what is not there."""
    head(figure, what, title(estimates))
    caption(figure, " ".join([_interval_text(estimates), *notes, _missing_text(estimates)]))
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
    over_seeds = drawn["interval"].isin(["student_t", "seeds_and_items"])
    if over_seeds.any():
        n = drawn.loc[over_seeds, "n_seeds"]
        seeds = f"{n.max()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        what = (
            f"95% interval over {seeds} seeds (Student t) and the test items, up to 99% if "
            "training hardly differs between seeds"
            if "seeds_and_items" in kinds
            else f"95% Student t interval over {seeds} seeds"
        )
        sentences.append(f"Mean and {what}.")
        if n.min() == 2:
            sentences.append(f"{TWO_SEEDS[0].upper()}{TWO_SEEDS[1:]}.")
    sentences += [text for kind, text in _ONE_SEED.items() if kind in kinds]
    if "none" in kinds:
        one = "One seed" if (drawn["n_seeds"] == 1).all() else "Nothing varies that was measured"
        sentences.append(f"{one}: no interval." if len(kinds) == 1 else "Some points: no interval.")
    return " ".join(sentences)


def _missing_text(estimates: pd.DataFrame) -> str:
    """Which cells of the grid are not there, by loss and noise rate."""
    rows = estimates[estimates["missing"] > 0].drop_duplicates(["variant", "noise"])
    if rows.empty:
        return ""
    listed = [
        f"{variant} at {show(float(rate))}: {missing}"
        for variant, rate, missing in zip(
            rows["variant"], rows["noise"], rows["missing"], strict=True
        )
    ]
    if len(listed) > _MOST_LISTED:
        listed[_MOST_LISTED:] = [f"and {len(listed) - _MOST_LISTED} more places, see summary.csv"]
    return f"Missing cells: {int(rows['missing'].sum())} ({'; '.join(listed)})."


def ties(estimates: pd.DataFrame) -> str:
    """Where ties in predicted reward are more than MOST_TIES of the test pairs, and how many."""
    if "tie_rate" not in estimates:
        return ""
    rows = estimates[estimates["tie_rate"] > MOST_TIES]
    worst = rows.groupby(["variant", "noise"])["tie_rate"].max().sort_values(ascending=False)
    listed = [
        f"{row['variant']} at {show(float(row['noise']))} up to {100 * row['tie_rate']:.0f}%"
        for row in worst.head(_MOST_LISTED).reset_index().to_dict("records")
    ]
    if len(worst) > _MOST_LISTED:
        listed.append(f"and {len(worst) - _MOST_LISTED} more")
    what = f"ties, counted one half, exceed {100 * MOST_TIES:.0f}% of the test pairs"
    return f"{what}: {', '.join(listed)}" if listed else ""


def head(figure: Figure, what: str, experiment: str) -> None:
    """What is drawn, and below it of which experiment; wrapped to the width of the figure, and
    whole as its label."""
    figure.set_label(f"{what}: {experiment}")
    width = int(figure.get_figwidth() * 11)
    lines = textwrap.wrap(what, width)
    if len(lines) > 1:  # lines of about one length
        lines = textwrap.wrap(what, len(what) // len(lines) + 8)
    figure.suptitle("\n".join([*lines, *textwrap.wrap(experiment, width)]))


def caption(figure: Figure, text: str) -> None:
    """What a reader must know beside the picture, below it."""
    width = int(figure.get_figwidth() * 13.5)
    figure.supxlabel(
        "\n".join(textwrap.wrap(text, width)), x=0.01, ha="left", fontsize=9, color="#444444"
    )
