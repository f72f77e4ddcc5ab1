"""A summary as text, for the end of a sweep."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis.baselines import baselines_of, is_baseline
from sympo.analysis.captions import INTERVALS, TWO_SEEDS, ties, title
from sympo.analysis.frames import before, implied, judge_of, over, show
from sympo.analysis.paper_values import COLUMN
from sympo.analysis.style import ordered
from sympo.metrics import EPOCHS, metric_of


def format_table(summary: pd.DataFrame) -> str:
    """A summary as plain text: rows are losses, columns noise rates, cells `81.3 ±1.2 (n=3)`.

    One block per experiment and epoch choice, its baselines below the losses; `*` marks losses
    given the true noise rate.
    summary: from `summary`, with the opponent of every judge in `against`.
    """
    blocks = []
    by = before(summary, "loss")
    redundant = implied(summary[by].drop_duplicates())
    for _, experiment in summary.groupby(by, dropna=False):
        for metric, rows in experiment.groupby("metric", sort=False):
            if is_baseline(str(metric)):
                continue
            which, name = str(metric).split("/", 1)
            written = metric_of(name)
            heading = written.heading(name)
            if judge := judge_of(str(metric)):
                if which != "last":
                    continue  # in summary.csv
                heading = f"judge {judge}, win rate {over(rows['against'].iloc[0])} (%)"
            heading += f", {EPOCHS[which].lower()}: {title(rows.drop(columns=redundant))}"
            beside = baselines_of(str(metric), experiment)
            blocks.append(f"{heading}\n{_block(rows, beside, written.factor)}")
    if not blocks:
        return "no cell measured what its job is judged by"
    return "\n\n".join([*blocks, _footnotes(summary)])


def _block(rows: pd.DataFrame, baselines: pd.DataFrame, factor: float) -> str:
    both = pd.concat([rows, baselines]) if len(baselines) else rows
    cells = both.assign(text=[_cell(row, factor) for row in both.to_dict("records")])
    wide = cells.pivot(index="variant", columns="noise", values="text").fillna("-")
    wide = wide.loc[[*ordered(rows["variant"]), *baselines["variant"].unique()]]
    lines = [["", *(f"noise {show(float(rate))}" for rate in wide.columns)]]
    lines += [[variant, *texts] for variant, texts in zip(wide.index, wide.to_numpy(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(row: Mapping[Hashable, Any], factor: float) -> str:
    n, expected = row["n_seeds"], row["n_seeds"] + row["missing"]
    if not n:
        return "missing"
    half = factor * (row["high"] - row["low"]) / 2
    interval = f" ±{half:.1f}" if np.isfinite(half) else ""
    seeds = f"n={n} of {expected}" if row["missing"] else f"n={n}"
    beside = row.get(COLUMN, np.nan)
    typed = "" if pd.isna(beside) else f" [{factor * beside:.1f}]"
    return f"{factor * row['mean']:.1f}{'*' * row['oracle']}{interval} ({seeds}){typed}"


def _footnotes(summary: pd.DataFrame) -> str:
    kinds = set(summary["interval"])
    notes = [note for kind, note in INTERVALS.items() if kind in kinds]
    if ((summary["n_seeds"] == 2) & summary["high"].notna()).any():
        notes.append(f"n=2: {TWO_SEEDS}")
    if tied := ties(summary):
        notes.append(tied)
    if summary["oracle"].any():
        notes.append("*: the loss or the filter was given the true noise rate (oracle)")
    if COLUMN in summary:
        sources = ", ".join(sorted(summary[f"{COLUMN}_source"].dropna().unique()))
        notes.append(f"[]: the paper's number ({sources})")
    measured, blocks = _coverage(summary)
    if missing := int(measured["missing"].sum()):
        notes.append(f"missing: {missing} cell{'s' * (missing != 1)}")
    for judge, same in blocks.groupby("judge"):
        judged = same.groupby("experiment")["n_seeds"].max()
        cells = measured["n_seeds"].reindex(judged.index)
        if (judged < cells).any():
            notes.append(f"{judge} judged {judged.sum()} of {cells.sum()} cells")
    return "\n".join(notes)


def missing_cells(summary: pd.DataFrame) -> int:
    """The number of cells of the expected grids without a value."""
    return int(_coverage(summary)[0]["missing"].sum())


def _coverage(summary: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """n_seeds and missing of each experiment, and of each of its metrics with its judge."""
    by = before(summary, "loss")
    summary = summary[~summary["metric"].map(is_baseline)]
    rows = summary.assign(
        experiment=summary.groupby(by, dropna=False).ngroup(), judge=summary["metric"].map(judge_of)
    )
    blocks = rows.groupby(["experiment", "metric"], as_index=False).agg(
        {"judge": "first", "n_seeds": "sum", "missing": "sum"}
    )
    # a cell that diverged after its selected epoch is missing from one block only
    measured = blocks[blocks["judge"].isna()].groupby("experiment")[["n_seeds", "missing"]].max()
    return measured, blocks


def unfinished(incomplete: pd.DataFrame) -> str:
    """The number of incomplete runs of each job and data set; empty if there are none."""
    if incomplete.empty:
        return ""
    places = (incomplete["job"] + "/" + incomplete["dataset"]).value_counts().sort_index()
    return "unfinished runs: " + ", ".join(f"{n} of {place}" for place, n in places.items())
