"""Cheap baselines beside a metric: rows of tables and lines of figures."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sympo.analysis.estimates import summarise
from sympo.analysis.frames import group_columns, settings
from sympo.analysis.intervals import Outcomes
from sympo.analysis.style import DASHDOT, DOTTED, SOLID, Dashes
from sympo.metrics import CHANCE, Metric, metric_of


@dataclass(frozen=True)
class BaselineStyle:
    """The name and the look of a baseline, which has no markers."""

    title: str
    color: str
    line: Dashes
    width: float


BASELINES = {
    "chance": BaselineStyle("chance", "#9a9a9a", SOLID, 1.2),
    "longer": BaselineStyle("longer response", "#4d4d4d", DOTTED, 1.4),
    "tfidf": BaselineStyle("TF-IDF, clean labels", "#4d4d4d", DASHDOT, 1.1),
}


def path(name: str, unit: Metric) -> str:
    """The path of a baseline's accuracy that is comparable with a metric."""
    return f"baseline/{name}/{unit.baseline}"


def summarise_baselines(
    cells: pd.DataFrame, metric: str, outcomes: Outcomes | None = None
) -> pd.DataFrame:
    """`summarise` of the baselines of a metric, `last/test/label_accuracy`, per experiment and
    noise rate; loss and variant are the baseline's title, metric is its path. Empty if no cell with
    the metric has baselines; chance is a constant, without an interval.
    """
    which, unit = metric.split("/", 1)[0], metric_of(metric)
    by = group_columns(cells)
    tables = []
    for name, look in BASELINES.items():
        own = f"{which}/{path(name, unit)}"
        if own in cells and metric in cells:
            # every loss has the same test pairs at one seed
            rows = cells[cells[metric].notna() & cells[own].notna()]
            rows = rows.drop_duplicates([*by, "noise", "seed"])
            rows = rows.assign(loss=look.title, oracle=False)
            rows[[name for name in settings(rows) if name.startswith("loss.")]] = np.nan
            tables.append(summarise(rows, own, outcomes=outcomes))
    if not tables:
        return summarise(cells.head(0), metric)
    look = BASELINES["chance"]
    chance = tables[0].assign(
        loss=look.title, variant=look.title, metric=f"{which}/{path('chance', unit)}",
        mean=CHANCE, low=np.nan, high=np.nan, interval="none",
    )  # fmt: skip
    return pd.concat([chance, *tables], ignore_index=True)


def with_baselines(estimates: pd.DataFrame, cells: pd.DataFrame, unit: Metric) -> pd.DataFrame:
    """Estimates with a column for each baseline of the metric, its mean over an experiment's seeds,
    in its stored unit."""
    by = group_columns(cells)
    for name in BASELINES:
        own = f"last/{path(name, unit)}"
        if unit.baseline and own in cells and len(estimates):
            # a mean over seeds, however many cells each has
            means = cells.groupby([*by, "seed"], dropna=False)[own].mean()
            means = means.groupby(by, dropna=False).mean()
            estimates = estimates.merge(
                means.rename(path(name, unit)).reset_index(), how="left", on=by
            )
    return estimates


def baseline_values(estimates: pd.DataFrame, unit: Metric) -> dict[str, float]:
    """The baselines that `with_baselines` added, and chance, by name, as written; empty if none."""
    first = estimates.iloc[0]
    found = {
        name: unit.factor * float(first[path(name, unit)])
        for name in BASELINES
        if unit.baseline and pd.notna(first.get(path(name, unit)))
    }
    return {"chance": unit.factor * CHANCE} | found if found else {}


def baselines_of(metric: str, summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of `summarise_baselines` for a metric."""
    which, unit = metric.split("/", 1)[0], metric_of(metric)
    names = [f"{which}/{path(name, unit)}" for name in BASELINES if unit.baseline]
    return summary[summary["metric"].isin(names)]


def is_baseline(metric: str) -> bool:
    """Whether a metric, `last/baseline/longer/label_accuracy`, is of a baseline."""
    return metric.split("/", 1)[1].startswith("baseline/")
