"""The figure of a judge's agreement with the labels of a data set."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.canvas import DRAWN, caption, few_ticks, head

_JUDGE, _LABEL, _GREY = "#0072B2", "#D55E00", "#9a9a9a"
_ENDS = ("", "_low", "_high")
_NOTES = (
    "95% bootstrap intervals over the prompts. Every pair was shown in both orders; if the two "
    "verdicts differ it is a tie, and ties count half. Grey lines: 50%. Length: characters of the "
    "chosen response minus those of the rejected one, in terciles."
)


@mpl.rc_context(DRAWN)
def label_agreement_figure(rows: pd.DataFrame, judge: str, pairs: str) -> Figure:
    """Agreement with the labels by group, beside how often judge and labels prefer the longer
    response.

    rows: of `sympo.evaluation.label_agreement.label_agreement`. judge, pairs: names for the title.
    """
    at = np.arange(len(rows))[::-1]
    figure = Figure(figsize=(9.8, 2.4 + 0.5 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _dots(left, rows, "agreement", at, _JUDGE, "o")
    overall = rows["by"] != "length"  # within a tercile the longer response is nearly always one
    _dots(right, rows[overall], "prefers_longer", at[overall] + 0.12, _JUDGE, "o")
    _dots(right, rows[overall], "longer_chosen", at[overall] - 0.12, _LABEL, "s")
    for ax in (left, right):
        ax.axvline(50, color=_GREY, linewidth=1.2, zorder=1)
        ax.grid(visible=False, axis="y")
        few_ticks(ax)
    left.set_yticks(at, [f"{r['group']}\n{r['pairs']:,} pairs" for r in rows.to_dict("records")])
    left.set_ylim(-0.6, len(rows) - 0.4)
    right.tick_params(axis="y", length=0)
    left.set(title="Agreement with the labels", xlabel="Pairs (%)")
    right.set(title="Longer response preferred", xlabel="Pairs (%)")
    handles = [
        Line2D([], [], color=color, marker=marker, ls="", label=label)
        for color, marker, label in ((_JUDGE, "o", "judge"), (_LABEL, "s", "labels"))
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    head(figure, "A judge and the labels", f"{judge} on {pairs}")
    caption(figure, _NOTES)
    return figure


def _dots(ax: Axes, rows: pd.DataFrame, name: str, at: np.ndarray, color: str, marker: str) -> None:
    value, low, high = (100 * rows[name + end].to_numpy(dtype=float) for end in _ENDS)
    ax.errorbar(value, at, xerr=[value - low, high - value], fmt=marker, color=color, capsize=3)
