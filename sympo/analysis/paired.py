"""Differences between losses or other groups of cells, paired by seed, and their tests."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from sympo.analysis.estimates import measured
from sympo.analysis.frames import group_columns, variants
from sympo.analysis.intervals import Floats, Outcomes, Spread, holm


def differences(cells: pd.DataFrame, metric: str, outcomes: Outcomes | None = None) -> pd.DataFrame:
    """Mean over seeds of metric(a) - metric(b) at the same seed, for each pair of variants a < b.

    Cells of one seed share pairs, flips, initial weights and batch order, whose effects pairing
    removes. Columns: `group_columns`, noise, a, b, metric, n_seeds (present in both),
    difference, low, high (95%, as in `summarise`; over the test items alone for a single shared
    seed), p (two-sided, at which the interval touches 0; NaN for fewer than two shared seeds, or
    equal differences at all of them), p_holm (p adjusted by Holm's method over a family: all pairs
    of variants at all noise rates of one experiment and metric).
    """
    frame = cells.assign(variant=variants(cells))
    by = group_columns(cells)
    frame = measured(frame, by, metric)
    tables = []
    for _, rows in frame.groupby(by, dropna=False):
        pairs = list(combinations(sorted(rows["variant"].unique()), 2))
        if not pairs:
            continue
        table, mean, spread = paired_means(rows, pairs, metric, outcomes)
        with np.errstate(invalid="ignore", divide="ignore"):
            half = spread.half_width()
        p = spread.p(mean)
        table = table.assign(
            metric=metric, n_seeds=spread.seeds, difference=mean, low=mean - half, high=mean + half,
            p=p, p_holm=holm(p),
        )  # fmt: skip
        same = rows[by].iloc[[0] * len(table)].reset_index(drop=True)
        tables.append(pd.concat([same, table], axis=1))
    columns = [*by, "noise", "a", "b", "metric", "n_seeds", "difference", "low", "high", "p"]
    columns.append("p_holm")
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def paired_means(
    rows: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    outcomes: Outcomes | None = None,
) -> tuple[pd.DataFrame, Floats, Spread]:
    """Means over seeds of metric(a) - metric(b) at the same noise rate and seed, their spread, and
    the noise, a and b of each.

    rows: cells of one experiment with `variant`, one for each variant, noise rate and seed, indexed
        as in `Outcomes`.
    """
    wide = rows.pivot(index=["noise", "seed"], columns="variant", values=metric).sort_index()
    first, second = map(list, zip(*pairs, strict=True))
    gaps = pd.DataFrame(wide[first].to_numpy() - wide[second].to_numpy(), index=wide.index)
    per_noise = gaps.groupby("noise")
    n, mean, sd = (per_noise.agg(how).to_numpy().ravel() for how in ("count", "mean", "std"))
    rates = np.unique(wide.index.get_level_values("noise"))
    items = [_paired(rows[rows["noise"] == rate], pairs, metric, outcomes) for rate in rates]
    shared, alone = np.concatenate(items, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = Spread(n, sd**2 / n, shared, alone)
    table = pd.DataFrame(
        {"noise": np.repeat(rates, len(pairs)), "a": first * len(rates), "b": second * len(rates)}
    )
    return table, mean, spread


def _paired(
    rows: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    outcomes: Outcomes | None,
) -> np.ndarray:
    """shared and items of `Spread` for differences of variants over their common seeds; NaN if
    outcomes are missing. rows: the cells at one noise rate."""
    unknown = np.stack([np.zeros(len(pairs)), np.full(len(pairs), np.nan)])
    rows = rows[rows[metric].notna()]
    if outcomes is None or rows.empty:
        return unknown
    seeds = {name: frozenset(own) for name, own in rows.groupby("variant")["seed"]}
    found = unknown
    for common in {seeds[a] & seeds[b] for a, b in pairs if a in seeds and b in seeds}:
        several = [
            place
            for place, (a, b) in enumerate(pairs)
            if common and seeds.get(a, frozenset()) & seeds.get(b, frozenset()) == common
        ]
        used = rows[rows["seed"].isin(common)]
        estimate = _contrasts(used, [pairs[place] for place in several], metric, outcomes)
        if estimate is not None:
            found[:, several] = estimate
            continue
        for place in several:  # some variant lacks outcomes: use those of the others
            estimate = _contrasts(used, [pairs[place]], metric, outcomes)
            if estimate is not None:
                found[:, [place]] = estimate
    return found


def _contrasts(
    rows: pd.DataFrame, pairs: Sequence[tuple[str, str]], metric: str, outcomes: Outcomes
) -> tuple[np.ndarray, np.ndarray] | None:
    """`_paired` for variants with the same seeds; None if outcomes are missing."""
    names = sorted({name for pair in pairs for name in pair})
    used = rows[rows["variant"].isin(names)]
    series = np.array([names.index(name) for name in used["variant"]], dtype=int)
    covariance = outcomes.covariance(metric, used.index.to_numpy(), series)
    if covariance is None:
        return None
    contrasts = np.zeros((len(pairs), len(names)))
    for row, pair in enumerate(pairs):
        contrasts[row, [names.index(name) for name in pair]] = 1, -1
    return covariance.of(contrasts)
