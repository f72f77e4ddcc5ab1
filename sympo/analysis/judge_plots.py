"""Figures of judges: win rates of policies, position bias, and agreement between judges."""

import textwrap
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.canvas import DRAWN, caption, few_ticks, head
from sympo.analysis.captions import title
from sympo.analysis.frames import judge_of, over
from sympo.analysis.noise_plots import accuracy_vs_noise
from sympo.metrics import EPOCHS, metric_of

_PROTOCOLS = {
    "both_orders": "Every pair was shown in both orders; where the two verdicts differ it is a "
    "tie, and ties count half.",
    "one_order": "Each person saw a pair in one order, drawn at random; ties count half.",
    "authors": "The policy's answer is always shown second, as the paper has it, and whatever does "
    "not prefer it is a loss.",
}
_SHARED = (
    "Seeds answer the same prompts: the interval says how training varies, not what other prompts "
    "would give."
)
_LETTERS = 26  # in a line of a judge's name
_OURS, _AUTHORS, _GREY = "#0072B2", "#D55E00", "#9a9a9a"


def judged_vs_noise(summary: pd.DataFrame) -> Figure:
    """Win rate by one judge against the noise rate, at the last and the chosen epoch.

    summary: rows of `summarise` for one judge and experiment, with the columns against, protocol
        and shared_prompts of `Judging.judges`.
    """
    first, judge = summary.iloc[0], judge_of(summary["metric"].iloc[0])
    unit = replace(
        metric_of("win_rate"),
        title=f"Win rate by judge {judge} {over(first['against'])}",
        note=_PROTOCOLS.get(first["protocol"], "Ties count half."),
        over_seeds=_SHARED * bool(first["shared_prompts"]),
    )
    extra = ["against", "protocol", "shared_prompts"]
    return accuracy_vs_noise(summary.drop(columns=extra), unit)


@mpl.rc_context(DRAWN)
def position_bias(judges: pd.DataFrame) -> Figure:
    """How often each judge prefers the response shown first, and win rates from the same verdicts
    by our protocol and by the paper's (one order, no ties).

    judges: `Judging.judges` of one experiment.
    """
    judges = _one_epoch(judges).sort_values("judge")
    names = [
        f"{_named(one['judge'], one['against'])}\n"
        f"{one['cells']} cell{'s' * (one['cells'] != 1)}, {one['prompts']} prompts"
        for one in judges.to_dict("records")
    ]
    at = np.arange(len(judges))[::-1]
    figure = Figure(figsize=(9.8, 2.7 + 0.8 * len(judges)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    valid = judges["valid_verdicts"].to_numpy() > 0
    some, places = judges[valid], at[valid]
    _dots(left, some, "first_shown_wins", places, _OURS, "o")
    for place in places[some["first_shown_wins"].isna()]:
        _instead(left, place, "shown in one order only")
    apart = 0.13
    _dots(right, some, "win_rate", places + apart, _OURS, "o")
    _dots(right, some, "authors_win_rate", places - apart, _AUTHORS, "s", face="white")
    for place in at[~valid]:
        _instead(left, place, "no valid verdict")
    for ax in (left, right):
        ax.axvline(50, color=_GREY, linewidth=1.2, zorder=1)
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.12)
        few_ticks(ax)
    left.set_xlim(*_around_50(left))
    right.tick_params(axis="y", length=0)
    left.set_yticks(at, names)
    left.set_ylim(-0.6, len(judges) - 0.4)
    left.set(title="Position bias", xlabel="Answer shown first\npreferred (%)")
    right.set(title="Effect of the protocol", xlabel="Win rate of\nthe policies (%)")
    handles = [
        _handle(_OURS, "o", _OURS, "by the judge's protocol"),
        _handle(_AUTHORS, "s", "white", "by the paper's protocol:\npolicy second, no ties"),
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, title="Win rate")
    return _finish(figure, judges, "Judges: order and protocol", _protocol_notes(judges))


@mpl.rc_context(DRAWN)
def agreement_matrix(agreement: pd.DataFrame) -> Figure:
    """Cohen's kappa of every two judges as colour, with the raw agreement below it; judges of one
    opponent are neighbours.

    agreement: `Judging.agreement` of one experiment.
    """
    agreement = _one_epoch(agreement)
    across, down = (
        agreement.sort_values(["against", side]).drop_duplicates(side)[side].tolist()
        for side in ("a", "b")
    )
    opponent = {row[side]: row["against"] for row in agreement.to_dict("records") for side in "ab"}
    figure = Figure(figsize=(4.2 + 2.1 * len(across), 2.5 + 1.1 * len(down)), layout="constrained")
    ax = figure.subplots()
    kappa = np.full((len(down), len(across)), np.nan)
    for row in agreement.to_dict("records"):
        x, y = across.index(row["a"]), down.index(row["b"])
        kappa[y, x] = row["kappa"]
        dark = row["kappa"] > 0.55
        ax.text(x, y, _agreed(row), ha="center", va="center", fontsize=9.5,
                color="white" if dark else "black", linespacing=1.35)  # fmt: skip
    edges = [np.arange(len(side) + 1) - 0.5 for side in (across, down)]
    image = ax.pcolormesh(*edges, kappa, cmap="Blues", vmin=0, vmax=1, ec="white", lw=3)
    ax.invert_yaxis()
    ax.set_xticks(range(len(across)), [_named(name, opponent[name]) for name in across])
    ax.set_yticks(range(len(down)), [_named(name, opponent[name]) for name in down])
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, label="Cohen's kappa", shrink=0.9)
    notes = [
        "Agreement on win, tie or loss of the policy's answer; kappa is what is left of it beyond "
        "chance (0: chance, 1: always agreed).",
        "n is how many answers both judged.",
    ]
    compared = {frozenset(pair) for pair in zip(agreement["a"], agreement["b"], strict=True)}
    if any({a, b} not in compared for a in across for b in down if a != b):
        notes.append("Blank: no answers that both judged against the same opponent.")
    return _finish(figure, agreement, "Agreement between judges", notes)


def _dots(
    ax: Axes,
    judges: pd.DataFrame,
    name: str,
    at: np.ndarray,
    color: str,
    marker: str,
    face: str | None = None,
) -> None:
    value, low, high = (100 * judges[name + end].to_numpy(dtype=float) for end in _ENDS)
    ax.errorbar(value, at, xerr=[value - low, high - value], fmt=marker, color=color,
                mfc=face or color, capsize=3, elinewidth=1.4)  # fmt: skip
    for x, y, right in zip(value, at, high, strict=True):
        if np.isfinite(x):
            ax.annotate(f"{x:.1f}", (right if np.isfinite(right) else x, y), xytext=(5, 0),
                        textcoords="offset points", va="center", fontsize=8.5)  # fmt: skip


_ENDS = ("", "_low", "_high")


def _named(judge: str, against: str) -> str:
    """A judge and its opponent; only settings too long for a line are broken."""
    lines = textwrap.wrap(judge, _LETTERS, break_long_words=False)
    return "\n".join([*(textwrap.fill(line, _LETTERS) for line in lines), over(against)])


def _instead(ax: Axes, place: float, why: str) -> None:
    ax.text(50, place, why, ha="center", va="center", color="#666666",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip


def _around_50(ax: Axes) -> tuple[float, float]:
    """Limits around all points, centred on 50 and at least +-5."""
    reach = max(np.abs(np.array(ax.get_xlim()) - 50).max(), 5)
    return 50 - reach, 50 + reach


def _agreed(row: Mapping[Hashable, Any]) -> str:
    raw = f"{100 * row['agreement']:.1f}% agree\nn = {row['n']:,}"
    if not np.isfinite(row["kappa"]):
        return f"kappa undefined\n{raw}"
    ends = f"{row['kappa_low']:.2f} to {row['kappa_high']:.2f}"
    return f"kappa {row['kappa']:.2f}\n({ends})\n{raw}"


def _handle(color: str, marker: str, face: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, mfc=face, ls="", label=label)


def _one_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last epoch, if it was judged, else of the chosen one."""
    last = frame[frame["which"] == "last"]
    return last if len(last) else frame


def _protocol_notes(judges: pd.DataFrame) -> list[str]:
    notes = [
        "Grey lines: 50%.",
        "Right: the same verdicts counted in two ways, over all losses and noise rates.",
        *(
            f"{name}: {_PROTOCOLS[name][0].lower()}{_PROTOCOLS[name][1:]}"
            for name in judges["protocol"].unique()
            if name in _PROTOCOLS
        ),
    ]
    if (judges["equal_rate"] > 0).any():
        most = 100 * judges["equal_rate"].max()
        notes.append(
            f"Equal answers (up to {most:.1f}%) are ties, which no judge is asked about, and "
            "losses by the paper's protocol."
        )
    invalid = judges[judges["invalid_rate"] > 0]
    if len(invalid):
        listed = "; ".join(
            f"{name}: on {100 * rate:.1f}% of the answers"
            for name, rate in zip(invalid["judge"], invalid["invalid_rate"], strict=True)
        )
        notes.append(
            f"Invalid verdicts ({listed}) are losses by the paper's protocol and not scored by "
            "any other."
        )
    return notes


def _finish(figure: Figure, rows: pd.DataFrame, what: str, notes: list[str]) -> Figure:
    # `title` expects the settings in front of the column `loss`; here `which` follows them
    head(figure, what, title(rows.rename(columns={"which": "loss"})))
    when = EPOCHS[rows["which"].iloc[0]].lower()
    caption(
        figure,
        " ".join([f"95% bootstrap intervals over the prompts, given these runs ({when}).", *notes]),
    )
    return figure
