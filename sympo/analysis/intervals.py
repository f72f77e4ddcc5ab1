"""Intervals of means over seeds x test items, and of their paired differences.

Seeds vary in what training does, items in what is tested. Items are drawn again with each seed
(nested), are the same for all (crossed), or share images (in between): which of these it is follows
from the units that the test sets share, and nobody has to say it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse, stats

from sympo.outcomes import TestSet, set_digest, unpack

LEVEL = 0.95
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """What the variance of means is made of; m means, in squared units of the metric.

    seeds: (m,) how many seeds S each is over. between: (m,) s^2 / S, s the standard deviation of
    the seeds' own means; NaN for one seed. shared: (m,) the covariance of two seeds' means that
    comes from the units their test sets share, 0 if they share none. items: (m,) the variance of
    the mean over the items alone, given the trained models; NaN if it is not known.
    """

    seeds: Ints
    between: Floats
    shared: Floats
    items: Floats

    def half_width(self, tail: float | Floats = 1 - LEVEL) -> Floats:
        """Half width of the interval that misses the mean with probability `tail`.

            max(sqrt(t^2 s^2 / S + z^2 c), z sqrt(v)),   v items, c shared

        t: Student's with S - 1 degrees of freedom; z: normal. s^2 / S alone is the variance of the
        mean where items are drawn again with every seed; items that seeds share move all seeds'
        means together, which s does not see and c does. The second term holds where few seeds
        happen to agree: no interval is narrower than the test items allow. NaN if neither is
        known. Source of c and v: `covariance`.

        Simulated coverage at 1, 2, 3 and 5 seeds: 94 to 97% where training differs between seeds,
        96 to 99% where it hardly does, since the wider of two intervals is taken.
        """
        z = stats.norm.isf(tail / 2)
        t = stats.t.isf(tail / 2, np.maximum(self.seeds - 1, 1))
        over_seeds = np.sqrt(t**2 * self.between + z**2 * np.nan_to_num(self.shared))
        # seeds that agree to the last digit are no evidence of any width of their own
        over_seeds = np.where(self._agree, np.nan, over_seeds)
        return np.fmax(over_seeds, z * np.sqrt(self.items))

    def p(self, mean: npt.ArrayLike) -> Floats:
        """The least `tail` at which the interval around `mean` leaves out 0; NaN for one seed, and
        if all seeds give the same number."""
        size = np.abs(np.asarray(mean, dtype=float))
        low, high = np.full(size.shape, -300.0), np.zeros(size.shape)  # of log10 p
        for _ in range(60):
            middle = (low + high) / 2
            outside = size > self.half_width(10.0**middle)
            low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        return np.where((self.seeds >= 2) & ~self._agree, 10.0**high, np.nan)

    @property
    def _agree(self) -> npt.NDArray[np.bool_]:
        return ~(self.between > 1e-24)


@dataclass(frozen=True)
class Covariance:
    """How the means of K series vary and covary over their items; all (K, K), or (K,).

    shared, items: as in `Spread`. apart: what `items` would be if no two items shared a unit.
    least: (K,), the variance of a mean whose items all agree, by the rule of three. tied: (K,),
    whether every item of a series is a tie, so that its mean says nothing.
    """

    shared: Floats
    items: Floats
    apart: Floats
    least: Floats
    tied: npt.NDArray[np.bool_]

    def of(self, contrast: npt.ArrayLike) -> tuple[Floats, Floats]:
        """shared and items of weighted sums of the series' means; contrast: (m, K)."""
        weights = np.asarray(contrast, dtype=float)

        def variance(matrix: Floats) -> Floats:
            return np.asarray(np.einsum("mi,ij,mj->m", weights, matrix, weights))

        used = (weights != 0).astype(float)
        least = (used * self.least).max(1)
        # the estimate is not a sum of squares if items have two units: that of items that share
        # none is its floor
        items = np.maximum(np.maximum(variance(self.items), variance(self.apart)), least)
        said = np.where((used * self.tied).any(1), np.nan, items)
        return np.maximum(variance(self.shared), 0), said


def covariance(
    blocks: Sequence[tuple["Incidence", np.ndarray, np.ndarray]],
    k: int,
    overlap: "Overlap | None" = None,
) -> Covariance:
    """`Covariance` of k series from their outcomes on each seed's test set.

    blocks: for each seed and test set of n items: the set, which series (r,), outcomes (r, n).
    overlap: of the blocks' sets, if it is known.

    With e = (outcome - the series' mean at this seed) / (S n), two items are correlated if they
    share a unit, so that by inclusion and exclusion

        Cov(a, b) = sum over units of (sum of e_a)(sum of e_b) - sum over items of e_a e_b

    if items have two units, and the first sum alone if they have one. Source: the
    dyadic-robust variance of Fafchamps and Gubert (2007); Liang and Zeger (1986).
    """
    overlap = overlap or Overlap([block for block, _, _ in blocks])
    seeds, units, tied = np.zeros(k), np.zeros(k), np.ones(k, dtype=bool)
    again = np.zeros((k, overlap.units.size))
    for number, (block, series, scores) in enumerate(blocks):
        seeds[series] += 1
        units[series] += len(block.units)
        again[np.ix_(series, overlap.units.places[number])] += 1
        tied[series] &= (scores == 0.5).all(1)
    within, alone = np.zeros((k, k)), np.zeros((k, k))
    of_units, of_items = _Across(k, overlap.units), _Across(k, overlap.items)
    for number, (block, series, scores) in enumerate(blocks):
        error = scores.astype(np.float64)
        error -= error.mean(1, keepdims=True)
        error /= (seeds[series] * scores.shape[1])[:, None]
        summed = np.asarray((block.matrix.T @ error.T).T)
        place, products = np.ix_(series, series), error @ error.T
        within[place] += summed @ summed.T - (block.degree > 1) * products
        alone[place] += products
        of_units.add(number, series, summed)
        of_items.add(number, series, error)
    same = of_items.products  # of the same item at two seeds
    degree = max((block.degree for block, _, _ in blocks), default=1)
    across = of_units.products - (same if degree > 1 else 0)
    # a unit of several seeds is one unit
    units = (units - np.maximum(again - 1, 0).sum(1)) / degree
    spare = np.maximum(seeds - 1, 1)
    factor = np.sqrt(np.outer(seeds / spare, seeds / spare))
    return Covariance(
        shared=across * factor,
        items=within + across,
        apart=alone + same,
        # an exact 95% bound on a share of which n units show nothing is 3 / n: 1.96 sqrt(least)
        least=(3 / 1.96 / np.maximum(units, 1)) ** 2,
        tied=tied,
    )


@dataclass(frozen=True)
class _Common:
    """Keys that several of some blocks have: how many, and of each block which columns have one and
    its place among them."""

    size: int
    columns: list[np.ndarray]
    places: list[np.ndarray]

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray]) -> "_Common":
        keys, counts = np.unique(
            np.concatenate([np.zeros(0, np.uint64), *blocks]), return_counts=True
        )
        keys, columns, places = keys[counts > 1], [], []
        for own in blocks:
            place = np.minimum(np.searchsorted(keys, own), max(len(keys) - 1, 0))
            there = np.flatnonzero(keys[place] == own) if len(keys) else np.zeros(0, int)
            columns.append(there)
            places.append(place[there])
        return cls(len(keys), columns, places)


class Overlap:
    """The units and the items that test sets have in common."""

    def __init__(self, sets: Sequence["Incidence"]) -> None:
        self.units = _Common.of([one.units for one in sets])
        self.items = _Common.of([one.ids for one in sets])


class _Across:
    """sum over keys and pairs of different blocks of value_a value_b; (k, k)."""

    def __init__(self, k: int, common: _Common) -> None:
        self.common = common
        self.total, self.own = np.zeros((k, common.size)), np.zeros((k, k))

    def add(self, block: int, series: np.ndarray, values: np.ndarray) -> None:
        """The values (r, keys) of some series (r,) in a block."""
        if len(columns := self.common.columns[block]):
            part = values if len(columns) == values.shape[1] else values[:, columns]
            self.total[np.ix_(series, self.common.places[block])] += part
            self.own[np.ix_(series, series)] += part @ part.T

    @property
    def products(self) -> np.ndarray:
        return self.total @ self.total.T - self.own


class Incidence:
    """A test set as which item has which units.

    ids: (n,). units: (u,), distinct. matrix: (n, u), 1 where an item has a unit. degree: how many
    units an item has.
    """

    def __init__(self, test_set: TestSet) -> None:
        n, self.degree = test_set.units.shape
        self.ids = test_set.ids
        self.units, column = np.unique(test_set.units, return_inverse=True)
        row = np.repeat(np.arange(n), self.degree)
        ones = np.ones(n * self.degree)
        self.matrix = sparse.csr_matrix((ones, (row, column.ravel())), (n, len(self.units)))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Outcomes:
    """Packed outcomes of cells, by metric and in the order of the cells, and their test sets."""

    packed: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    test_sets: Mapping[str, TestSet] = field(default_factory=dict)
    _incidences: dict[str, Incidence] = field(default_factory=dict, repr=False)
    _overlaps: dict[tuple[str, ...], Overlap] = field(default_factory=dict, repr=False)
    _known: dict[tuple[str, bytes], Covariance | None] = field(default_factory=dict, repr=False)

    def covariance(self, metric: str, cells: np.ndarray, series: np.ndarray) -> Covariance | None:
        """`covariance` of a metric over cells, of which each is a seed of a series; None where
        outcomes of one of them are missing or cannot be read.

        cells: (c,) places among all cells; series: (c,), of 0 to k - 1.
        """
        key = metric, cells.tobytes() + series.tobytes()
        if key not in self._known:
            self._known[key] = self._covariance(metric, cells, series)
        return self._known[key]

    def _covariance(self, metric: str, cells: np.ndarray, series: np.ndarray) -> Covariance | None:
        if metric not in self.packed or not len(cells):
            return None
        packed = self.packed[metric].take(pa.array(cells)).to_pylist()
        if not all(packed):
            return None
        by_set: dict[str, list[int]] = {}
        try:
            for place, text in enumerate(packed):
                by_set.setdefault(set_digest(text), []).append(place)
            of_block, blocks = [], []
            for digest, several in by_set.items():
                block = self._incidence(digest)
                for places in _once_each(series, several):
                    scores = unpack([packed[place] for place in places], len(block))
                    blocks.append((block, series[places], scores))
                    of_block.append(digest)
        except (ValueError, KeyError):
            return None
        if (digests := tuple(of_block)) not in self._overlaps:
            self._overlaps[digests] = Overlap([block for block, _, _ in blocks])
        return covariance(blocks, int(series.max()) + 1, self._overlaps[digests])

    def _incidence(self, digest: str) -> Incidence:
        if digest not in self._incidences:
            self._incidences[digest] = Incidence(self.test_sets[digest])
        return self._incidences[digest]


def _once_each(series: np.ndarray, places: Sequence[int]) -> list[np.ndarray]:
    """Places split so that no part has a series twice: seeds that share a test set."""
    at = np.array(places)
    own = series[at]
    order = np.argsort(own, kind="stable")
    ranked = own[order]
    rank = np.arange(len(at)) - np.searchsorted(ranked, ranked)
    return [at[order[rank == seed]] for seed in range(int(rank.max()) + 1)]
