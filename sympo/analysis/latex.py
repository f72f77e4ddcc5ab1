"""A summary as LaTeX tables."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis.baselines import is_baseline
from sympo.analysis.captions import title
from sympo.analysis.frames import before, implied, show
from sympo.analysis.style import ordered
from sympo.metrics import EPOCHS, metric_of

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def latex_table(summary: pd.DataFrame) -> str:
    """A tabular (package booktabs) for each experiment, metric and epoch: rows are losses, columns
    noise rates, cells `$81.3 \\pm 1.2$` with the number of seeds if it is one or two."""
    by = before(summary, "loss")
    redundant = implied(summary[by].drop_duplicates())
    tables = [
        _table(str(metric), rows, title(rows.drop(columns=redundant)))
        for _, experiment in summary.groupby(by, dropna=False)
        for metric, rows in experiment.groupby("metric", sort=False)
        if not is_baseline(str(metric))
    ]
    return "\n".join(tables)


def _table(metric: str, rows: pd.DataFrame, experiment: str) -> str:
    which, path = metric.split("/", 1)
    unit = metric_of(path)
    text = rows.assign(text=[_cell(row, unit.factor) for row in rows.to_dict("records")])
    wide = text.pivot(index="variant", columns="noise", values="text").fillna("--")
    heading = " & ".join(["loss", *(f"noise {show(float(rate))}" for rate in wide.columns)])
    lines = [" & ".join([_escaped(loss), *wide.loc[loss]]) + r" \\" for loss in ordered(wide.index)]
    columns = "l" + "r" * len(wide.columns)
    return "\n".join(
        [
            f"% {path} ({unit.unit or 'no unit'}), {EPOCHS[which].lower()}: {experiment}",
            f"\\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{heading} \\", r"\midrule",
            *lines, r"\bottomrule", r"\end{tabular}", "",
        ]
    )  # fmt: skip


def _cell(row: Mapping[Hashable, Any], factor: float) -> str:
    n = row["n_seeds"]
    if not n:
        return "--"
    half = factor * (row["high"] - row["low"]) / 2
    interval = rf" \pm {half:.1f}" if np.isfinite(half) else ""
    seeds = f" ($n={n}$)" if n <= 2 else ""
    return f"${factor * row['mean']:.1f}{interval}${seeds}"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
