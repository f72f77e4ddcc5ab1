"""Means and intervals from tidy frames.

Cells are pooled over seeds only: any other differing setting separates them.
"""

from itertools import product

import numpy as np
import pandas as pd

from sympo.analysis.frames import before, group_columns, judge_of, variants
from sympo.analysis.intervals import Outcomes, Spread
from sympo.metrics import KL

_CELL = ["loss", "variant", "noise"]


def summarise(
    cells: pd.DataFrame,
    metric: str,
    incomplete: pd.DataFrame | None = None,
    outcomes: Outcomes | None = None,
) -> pd.DataFrame:
    """Mean and 95% interval of a metric over seeds, per experiment, loss variant and noise rate.

    Columns: `group_columns`, loss, variant, noise, metric, n_seeds, mean, low, high, interval,
    missing, oracle, in the metric's stored unit; tie_rate of the test items, if measured.

    interval (`Spread.half_width`), two seeds or more: `seeds_and_items`, or without outcomes
    `student_t`, at least as wide as the cells' `<metric>_se` imply. One seed: `prompts` for metrics
    of samples, else `test_pairs` or `validation_pairs` (1.96 standard errors), or without outcomes
    `bootstrap_prompts` or `bootstrap_<pairs>` (`<metric>_low` to `<metric>_high`). `none` if
    nothing measured varies.

    missing: cells of the expected grid without a value. The grid is seeds x noise rates x variants
    of the experiment, plus unfinished runs of its job and data set outside it; for a judge, the
    seeds, rates and variants it judged. Experiments without any value have no rows.

    outcomes: of the cells of the whole collection, in which the index of `cells` counts.
    """
    frame = cells.assign(variant=variants(cells))
    by = group_columns(cells)
    frame = measured(frame, by, metric)
    if judge_of(metric):
        frame, incomplete = _asked(frame, by, metric), None
    table = _intervals(frame, by, [*by, *_CELL], metric, outcomes)
    expected = _expected(frame[[*by, *_CELL, "seed"]], by, incomplete)
    table = expected.merge(table, how="left", on=[*by, *_CELL])
    table["n_seeds"] = table["n_seeds"].fillna(0).astype(int)
    table["missing"] = table.pop("expected") - table["n_seeds"]
    return _finish(table, by, metric)


def curve_estimates(
    curves: pd.DataFrame, metric: str, incomplete: pd.DataFrame | None = None
) -> pd.DataFrame:
    """`summarise` at every epoch: the same columns and `epoch`.

    A loss and noise rate without any cell has one row with epoch NaN, which counts the missing.
    """
    return _along(curves, "epoch", metric, incomplete)


def against_kl(
    curves: pd.DataFrame, metric: str, incomplete: pd.DataFrame | None = None
) -> pd.DataFrame:
    """`curve_estimates` of a metric, with the policy's divergence from the reference.

    Further columns: kl, kl_low, kl_high, kl_interval, of `policy/kl` at the same epoch over the
    same cells, in nats per response. Epochs of a cell that lack either number are left out.
    """
    pair = np.array([curves.get(name, _absent(curves)) for name in (metric, KL)], dtype=float)
    both = np.isfinite(pair).all(axis=0)
    curves = curves.assign(**dict(zip([metric, KL], np.where(both, pair, np.nan), strict=True)))
    table = curve_estimates(curves, metric, incomplete)
    keys = [*group_columns(curves), *_CELL, "epoch"]
    named = {"mean": "kl", "low": "kl_low", "high": "kl_high", "interval": "kl_interval"}
    kl = curve_estimates(curves, KL, incomplete)[[*keys, *named]].rename(columns=named)
    return table.merge(kl, how="left", on=keys)


def reward_by_item(
    cells: pd.DataFrame, which: str = "last", incomplete: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Mean learned reward at each level of the true reward, with `summarise`'s
    columns and `item`, the true reward.

    Each cell is standardised first, (r - mean r) / sd r over its items, because rewards are
    identified only up to a shift and losses differ in scale. Unit: standard deviations.
    """
    metric = f"{which}/test/reward_mean"
    columns = [name for name in cells.columns if name.startswith(f"{metric}/")]
    keys = [*before(cells, "oracle"), "oracle"]
    rewards = cells[columns].to_numpy(dtype=float, copy=True)
    # each data set has true rewards of its own
    for at in cells.groupby(group_columns(cells), dropna=False).indices.values() if columns else ():
        own = np.ix_(at, ~np.isnan(rewards[at]).all(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            centred = rewards[own] - rewards[own].mean(axis=1, keepdims=True)
            rewards[own] = centred / centred.std(axis=1, keepdims=True)
    items = np.array([_number(name.rsplit("/", 1)[1]) for name in columns])
    long = cells[keys].take(np.repeat(np.arange(len(cells)), len(items))).reset_index(drop=True)
    long["item"] = np.tile(items, len(cells))
    long[metric] = rewards.ravel()
    return _along(long, "item", metric, incomplete)


def _number(written: str) -> float:
    return int(written) if written.lstrip("-").isdigit() else float(written)


def measured(frame: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """The experiments in which the metric has some value; infinities become NaN."""
    if metric not in frame:
        return frame.head(0).assign(**{metric: np.nan})
    values = np.asarray(frame[metric], dtype=float)
    frame = frame.assign(**{metric: np.where(np.isfinite(values), values, np.nan)})
    groups = frame.groupby(by, dropna=False)[metric]
    return frame[groups.transform("count") > 0]


def _asked(frame: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """The seeds, noise rates and variants of each experiment that a judge judged at all."""
    for axis in ("seed", "noise", "variant"):
        judged = frame.groupby([*by, axis], dropna=False)[metric].transform("count")
        frame = frame[judged > 0]
    return frame


def _intervals(
    frame: pd.DataFrame,
    experiment: list[str],
    by: list[str],
    metric: str,
    outcomes: Outcomes | None = None,
) -> pd.DataFrame:
    """n_seeds, mean, low, high, interval, tie_rate and oracle of every group."""
    value = frame[metric]
    own = {
        end: frame.get(f"{metric}_{end}", _absent(frame)).where(value.notna())
        for end in ("se", "low", "high")
    }
    ties = frame.get(f"{metric.rpartition('/')[0]}/tie_rate", _absent(frame))
    if "test/" not in metric:  # equal responses are true ties
        ties = _absent(frame)
    columns = frame[by].assign(value=value, **own, tie_rate=ties, oracle=frame["oracle"])
    grouped = columns.groupby(by, dropna=False)
    table = grouped["value"].agg(n_seeds="count", mean="mean", sd="std")
    table["oracle"], table["tie_rate"] = grouped["oracle"].any(), grouped["tie_rate"].mean()
    one = grouped[list(own)].mean()  # used for single cells only
    alone, n = table["n_seeds"] == 1, table["n_seeds"].to_numpy()
    squares = (columns["se"] ** 2).groupby([columns[name] for name in by], dropna=False)
    summed = squares.sum(min_count=1).where(squares.count() == table["n_seeds"])
    with np.errstate(invalid="ignore", divide="ignore"):
        # equal outcomes have a standard error of 0, which bounds nothing
        items = (summed.where(summed > 0) / n**2).to_numpy(copy=True)
        shared = np.zeros(len(table))
        exact = _of_items(
            frame, grouped.ngroup().to_numpy(), experiment, metric, outcomes, shared, items
        )
        spread = Spread(n, table["sd"].to_numpy() ** 2 / n, shared, items)
        half = spread.half_width()
    known = np.isfinite(half)
    bootstrap = alone & ~exact & (one["high"] > one["low"])
    several = (table["n_seeds"] >= 2) & known
    kinds = [bootstrap, several & exact & np.isfinite(items), several, alone & known]
    # metrics of samples vary over prompts, all others over pairs
    answers = "policy/" in metric or judge_of(metric) is not None
    pairs = "validation_pairs" if "validation/" in metric else "test_pairs"
    mean, over = table["mean"], "prompts" if answers else pairs
    names = [f"bootstrap_{over}", "seeds_and_items", "student_t", over]
    table["low"] = np.where(bootstrap, one["low"], mean - half)
    table["high"] = np.where(bootstrap, one["high"], mean + half)
    table["interval"] = np.select(kinds, names, "none")
    return table.drop(columns="sd").reset_index()


def _of_items(
    frame: pd.DataFrame,
    group: np.ndarray,
    experiment: list[str],
    metric: str,
    outcomes: Outcomes | None,
    shared: np.ndarray,
    items: np.ndarray,
) -> np.ndarray:
    """Fill in `shared` and `items` of groups with outcomes; returns which groups have them.

    group: (rows,) of each row of the frame. shared, items: of each group, as in `Spread`.
    """
    found = np.zeros(len(items), dtype=bool)
    there = frame[metric].notna().to_numpy()
    if outcomes is None or not there.any():
        return found
    # losses at one noise rate share test sets and are estimated together
    arena = frame.groupby([*experiment, "noise"], dropna=False).ngroup().to_numpy()
    place = frame.index.to_numpy()

    def fill(rows: np.ndarray) -> bool:
        groups, series = np.unique(group[rows], return_inverse=True)
        covariance = outcomes.covariance(metric, place[rows], series)
        if covariance is None:
            return False
        shared[groups], items[groups] = covariance.of(np.eye(len(groups)))
        found[groups] = True
        return True

    for one in np.unique(arena[there]):
        rows = np.flatnonzero(there & (arena == one))
        if not fill(rows):  # some loss lacks outcomes: use those of the others
            for alone in np.unique(group[rows]):
                fill(rows[group[rows] == alone])
    return found


def _absent(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(np.nan, index=frame.index)


def _expected(frame: pd.DataFrame, by: list[str], incomplete: pd.DataFrame | None) -> pd.DataFrame:
    """The number of cells each experiment, loss variant and noise rate should have.

    The path of an unfinished run names neither its noise model nor its other settings, so it is
    expected in every experiment of its job and data set that does not expect it already.
    """
    tables = []
    for _, rows in frame.groupby(by, dropna=False):
        labels = rows[["loss", "variant"]].drop_duplicates()
        seeds, rates = rows["seed"].unique(), np.sort(rows["noise"].unique())
        losses = list(labels.itertuples(index=False, name=None))
        counts = {(*loss, rate): len(seeds) for loss, rate in product(losses, rates)}
        for loss, rate in _beyond(rows, incomplete):
            named = labels.loc[labels["loss"] == loss, "variant"].tolist()
            key = (loss, named[0] if len(named) == 1 else loss, rate)
            counts[key] = counts.get(key, 0) + 1
        table = pd.DataFrame(list(counts), columns=_CELL).assign(expected=list(counts.values()))
        same = rows[by].iloc[[0] * len(table)].reset_index(drop=True)
        tables.append(pd.concat([same, table], axis=1))
    if not tables:
        return frame[[*by, *_CELL]].head(0).assign(expected=0)
    return pd.concat(tables, ignore_index=True)


def _beyond(rows: pd.DataFrame, incomplete: pd.DataFrame | None) -> list[tuple[str, float]]:
    """(loss, noise) of unfinished runs outside the grid of an experiment."""
    if incomplete is None or incomplete.empty:
        return []
    first = rows.iloc[0]
    runs = incomplete[
        (incomplete["job"] == first["job"]) & (incomplete["dataset"] == first["dataset"])
    ].drop_duplicates(["loss", "noise", "seed"])
    held = [runs[name].isin(rows[name]) for name in ("loss", "noise", "seed")]
    return list(
        runs.loc[~np.logical_and.reduce(held), ["loss", "noise"]].itertuples(index=False, name=None)
    )


def _along(
    frame: pd.DataFrame, axis: str, metric: str, incomplete: pd.DataFrame | None
) -> pd.DataFrame:
    """Intervals at every value of an axis, with the number of missing cells."""
    by = group_columns(frame)
    frame = measured(frame.assign(variant=variants(frame)), by, metric)
    per_cell = [*by, *_CELL]
    held = frame[[*per_cell, "seed"]].drop_duplicates()
    missing = _expected(held, by, incomplete)
    present = held.groupby(per_cell, dropna=False).size()
    missing = missing.merge(present.rename("present").reset_index(), how="left", on=per_cell)
    missing["missing"] = missing.pop("expected") - missing.pop("present").fillna(0).astype(int)
    table = _intervals(frame, by, [*per_cell, axis], metric)
    table = missing.merge(table, how="left", on=per_cell)
    table["n_seeds"] = table["n_seeds"].fillna(0).astype(int)
    # without flips a share of flipped pairs is undefined, not missing
    return _finish(table[(table["n_seeds"] > 0) | table[axis].isna()], by, metric, axis)


def _finish(table: pd.DataFrame, by: list[str], metric: str, *axis: str) -> pd.DataFrame:
    """The public columns in order, sorted; rows without cells take `oracle` from their variant."""
    named = table["variant"].astype("str").str.contains(r"\(oracle", regex=True)
    oracle = table["oracle"].astype("boolean").fillna(named).astype(bool)
    interval = table["interval"].fillna("none")
    table = table.assign(metric=metric, oracle=oracle, interval=interval)
    numbers = ["n_seeds", "mean", "low", "high", "interval", "missing", "tie_rate", "oracle"]
    table = table[[*by, *_CELL, *axis, "metric", *numbers]]
    return table.sort_values([*by, *_CELL, *axis]).reset_index(drop=True)
