"""The sentences that a page begins with: which loss leads, and by how much."""

import numpy as np
import pandas as pd

from sympo.analysis.baselines import is_baseline
from sympo.analysis.captions import title
from sympo.analysis.frames import WHICH, group_columns, implied, show
from sympo.metrics import Metric, metric_of

MOST = 4  # experiments with a sentence
FEW_SEEDS = {1: "1 seed", 2: "2 seeds, too few for a t interval"}
_LEVEL = 0.05


def outcome(cells: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """A sentence per experiment, on its highest noise rate at the last epoch, by the metric that
    its job is judged by."""
    by = group_columns(cells)
    own = summary[summary["metric"].str.startswith(f"{WHICH[0]}/") & (summary["n_seeds"] > 0)]
    own = own[~own["metric"].map(is_baseline)]
    redundant = implied(own[by].drop_duplicates()) if len(own) else []
    sentences = []
    for _, rows in own.groupby(by, dropna=False):
        first = rows[rows["metric"] == rows["metric"].iloc[0]]
        top = first[first["noise"] == first["noise"].max()].sort_values("mean", ascending=False)
        same = differences.merge(rows[by].head(1), on=by)  # missing settings match, too
        shown = title(rows.drop(columns=redundant))
        sentences.append(f"{shown}: {_sentence(top, same)}")
    more = len(sentences) - MOST
    return [*sentences[:MOST], *([f"And {more} more experiments, below."] if more > 0 else [])]


def _sentence(top: pd.DataFrame, differences: pd.DataFrame) -> str:
    first = top.iloc[0]
    unit = metric_of(first["metric"])
    rate = show(float(first["noise"]))
    said = (
        f"at noise {rate}, {first['variant']} has {_value(first['mean'], unit)} "
        f"{_lower(unit.title)}{_interval(first, unit)}"
    )
    if len(top) == 1:
        return f"{said}."
    second = top.iloc[1]
    pair = differences[
        (differences["noise"] == first["noise"])
        & (differences["metric"] == first["metric"])
        & differences["a"].isin([first["variant"], second["variant"]])
        & differences["b"].isin([first["variant"], second["variant"]])
    ]
    if pair.empty or not pair["n_seeds"].iloc[0]:
        return f"{said}, the highest; {second['variant']} follows."
    row = pair.iloc[0]
    sign = 1 if row["a"] == first["variant"] else -1
    ends = sorted(unit.factor * sign * row[end] for end in ("low", "high"))
    gap = unit.factor * sign * row["difference"]
    over = f" (paired, 95% interval {ends[0]:.1f} to {ends[1]:.1f})" if np.isfinite(ends[0]) else ""
    points = " points" if unit.unit == "%" else f" {unit.unit}".rstrip()
    if not np.isfinite(ends[0]):
        verdict = "the difference has no interval"
    elif row["p_holm"] < _LEVEL:
        verdict = "the difference is significant after Holm's correction"
    elif ends[0] > 0 or ends[1] < 0:  # the interval is not corrected
        verdict = "the difference is not significant after Holm's correction"
    else:
        verdict = "too little to separate the two"
    return f"{said}, the highest, {gap:.1f}{points} above {second['variant']}{over}: {verdict}."


def _value(value: float, unit: Metric) -> str:
    return f"{unit.factor * value:.1f}%" if unit.unit == "%" else f"{unit.factor * value:.3g}"


def _interval(row: pd.Series, unit: Metric) -> str:
    parts = []
    if pd.notna(row["low"]):
        low, high = (unit.factor * row[end] for end in ("low", "high"))
        parts.append(f"95% interval {low:.1f} to {high:.1f}")
    parts.append(FEW_SEEDS.get(int(row["n_seeds"]), f"{row['n_seeds']} seeds"))
    return f" ({'; '.join(parts)})"


def _lower(title: str) -> str:
    """A title within a sentence; an acronym keeps its capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]
