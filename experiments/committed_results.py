"""The numbers of the committed results, as text."""

from functools import cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]


@cache
def table(folder: str, name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / folder / f"{name}.csv")


class Results:
    """The numbers of one results folder as text, in % and points.

    metric: without the epoch choice. where: settings that pick one experiment of several.
    """

    def __init__(self, folder: str, metric: str, **where: object) -> None:
        self.folder, self.metric, self.where = folder, metric, where

    def _row(self, name: str, which: str, **where: object) -> pd.Series:
        rows = table(self.folder, name)
        for column, value in {**self.where, **where, "metric": f"{which}/{self.metric}"}.items():
            rows = rows[rows[column] == value]
        if len(rows) != 1:
            raise LookupError(f"{self.folder}/{name}.csv has {len(rows)} rows of {which} {where}")
        return rows.iloc[0]

    def value(self, loss: str, noise: float, which: str = "last") -> float:
        return 100 * float(self._row("summary", which, variant=loss, noise=noise)["mean"])

    def mean(self, loss: str, noise: float, which: str = "last", digits: int = 1) -> str:
        """`73.5%`"""
        return f"{self.value(loss, noise, which):.{digits}f}%"

    def interval(self, loss: str, noise: float, which: str = "last") -> str:
        """`73.5% (±2.1)`"""
        row = self._row("summary", which, variant=loss, noise=noise)
        return f"{100 * row['mean']:.1f}% (±{50 * (row['high'] - row['low']):.1f})"

    def ends(self, one: str, other: str, noise: float, which: str = "last") -> tuple[float, ...]:
        """The lead of one loss over another: mean, low and high, in points."""
        a, b = sorted([one, other])
        row = self._row("differences", which, a=a, b=b, noise=noise)
        ends = [100 * float(row[name]) for name in ("difference", "low", "high")]
        return tuple(ends) if a == one else (-ends[0], -ends[2], -ends[1])

    def lead(self, one: str, other: str, noise: float, which: str = "last") -> str:
        """`12.9 points (11.3 to 14.6)`"""
        mean, low, high = self.ends(one, other, noise, which)
        return f"{mean:.1f} points ({low:.1f} to {high:.1f})"


def cells(folder: str, column: str, **where: object) -> pd.Series:
    """A column of cells.csv, of the cells with these settings."""
    rows = table(folder, "cells")
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows[column]


def span(values: pd.Series, digits: int = 0) -> str:
    """`95 to 99%`, or `95%` where both ends are written alike."""
    low, high = (f"{100 * end:.{digits}f}" for end in (values.min(), values.max()))
    return f"{low}%" if low == high else f"{low} to {high}%"


def holds(claim: bool, what: str) -> None:
    """A sentence that the results no longer support has to be rewritten by hand."""
    if not claim:
        raise ValueError(f"the committed results no longer say that {what}")
