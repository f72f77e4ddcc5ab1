"""One sentence on what came out of an experiment that has no claims of its own, from its CSVs.

Each takes the folder of the results. Intervals are 95%.
"""

from pathlib import Path

import pandas as pd

from sympo.analysis.frames import judge_of, over
from sympo.metrics import metric_of


def of_flips(folder: Path) -> str:
    """How well margins find the flipped pairs."""
    cells = pd.read_csv(folder / "cells.csv")
    by_loss = cells[cells["noise"] == 0.4].groupby("loss")

    def of(column: str) -> str:
        values = by_loss[column].mean()
        return f"{values.min():.2f} to {values.max():.2f}"

    return (
        "At noise 0.4 margins put flipped training pairs first with an AUROC of "
        f"{of('selected/train/flip_auroc')} over losses at the epoch selected by noisy "
        f"validation, and of {of('last/train/flip_auroc')} after the last epoch; the noise rate is "
        f"estimated at {of('selected/validation/noise_estimate')}."
    )


def of_texts(folder: Path) -> str:
    """Whether more differences between losses have an interval without 0 than chance gives."""
    rows = pd.read_csv(folder / "differences.csv")
    return _apart(rows[rows["metric"] == "last/test/label_accuracy"])


def of_pretrained(folder: Path) -> str:
    """Means of two losses at every rate, and whether any differences are clear of 0."""
    rows = pd.read_csv(folder / "differences.csv")
    rows = rows[rows["metric"].str.startswith("last/")]
    summary = pd.read_csv(folder / "summary.csv")
    said = [
        f"{_means(summary[summary['metric'] == metric])}{_beside(summary, metric)}."
        for metric in rows["metric"].unique()
    ]
    return f"{' '.join(said)} {_apart(rows)}"


def _beside(summary: pd.DataFrame, metric: str) -> str:
    """` (the longer response 50.8%, tf-idf 58.6%)`; empty if the metric has no baselines."""
    baseline = metric_of(metric).baseline
    kinds = {"longer": "the longer response", "tfidf": "tf-idf without flips"}
    found = {
        called: summary.loc[summary["metric"] == f"last/baseline/{kind}/{baseline}", "mean"]
        for kind, called in kinds.items()
    }
    each = [f"{called} {100 * one.mean():.1f}%" for called, one in found.items() if len(one)]
    return f" ({', '.join(each)})" if each else ""


def _means(rows: pd.DataFrame) -> str:
    """`Implicit reward accuracy: ramp 61.7% and logistic 62.9% at noise 0, ...`"""
    metric = rows["metric"].iloc[0]
    judged = judge_of(metric) is not None
    title = (
        f"Judged win rate {over(rows['against'].iloc[0])}" if judged else metric_of(metric).title
    )
    kinds = rows["noise_model"].nunique() > 1
    found = []
    for (noise, kind), same in rows.groupby(["noise", "noise_model"], sort=True):
        each = [
            f"{loss} {100 * mean:.1f}%"
            for loss, mean in zip(same["variant"], same["mean"], strict=True)
        ]
        found.append(f"{' and '.join(each)} at {f'{kind} ' * kinds}noise {noise:g}")
    return f"{title}: {', '.join(found)}"


def _apart(rows: pd.DataFrame) -> str:
    """`Of 4 intervals of differences between losses, 0 exclude 0.`"""
    apart = int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
    few = "No loss is measurably more robust: of" if apart <= 0.05 * len(rows) else "Of"
    return (
        f"{few} {len(rows)} intervals of differences between losses, {apart} "
        f"exclude{'s' * (apart == 1)} 0."
    )
