"""Variances and covariances of means whose test items share units, such as images or prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sympo.outcomes import TestSet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
# a test set, which series (r,) were tested on it, and their outcomes (r, n)
Block: TypeAlias = "tuple[Incidence, Ints, npt.NDArray[np.float32]]"
_TOGETHER = 1 << 14  # items at a time, which stay in the processor's cache


@dataclass(frozen=True)
class Covariance:
    """Variances and covariances of the means of K series over their items; (K, K) or (K,).

    shared, items: as in `Spread`. apart: what `items` would be if no two items shared a unit.
    least: (K,) the variance of a mean whose items all agree, by the rule of three. tied: (K,)
    whether every item of a series is a tie, so that its variance is unknown.
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
        # with two units an item the estimate can be too small or negative; items that share none
        # bound it from below
        items = np.maximum(np.maximum(variance(self.items), variance(self.apart)), least)
        known = np.where((used * self.tied).any(1), np.nan, items)
        return np.maximum(variance(self.shared), 0), known


def covariance(
    blocks: Sequence[Block],
    k: int,
    overlap: "Overlap | None" = None,
) -> Covariance:
    """`Covariance` of k series from their outcomes on each seed's test set.

    blocks: one for each seed and test set of n items. overlap: of their test sets, if known.

    With e = (outcome - the series' mean at this seed) / (S n), two items are correlated if they
    share a unit, so that by inclusion and exclusion

        Cov(a, b) = sum over units of (sum of e_a)(sum of e_b) - sum over items of e_a e_b

    if items have two units, and the first sum alone if they have one. Source: the
    dyadic-robust variance of Fafchamps and Gubert (2007); Liang and Zeger (1986).
    """
    overlap = overlap or Overlap([block for block, _, _ in blocks])
    seeds, units, tied = np.zeros(k), np.zeros(k), np.ones(k, dtype=bool)
    for block, series, scores in blocks:
        seeds[series] += 1
        units[series] += len(block.units)
        tied[series] &= (scores == 0.5).all(1)
    within, alone, again = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, overlap.units.size))
    of_units, of_items = _Across(k, overlap.units), _Across(k, overlap.items)
    for numbers in _alike(blocks):
        sets = [blocks[number][0] for number in numbers]
        series, degree = blocks[numbers[0]][1], sets[0].degree
        error = np.stack([blocks[number][2] for number in numbers], axis=1).astype(np.float64)
        error -= error.mean(2, keepdims=True)
        error /= (seeds[series] * error.shape[2])[:, None, None]
        error = error.reshape(len(series), -1)
        summed = np.asarray((_stacked(sets).T @ error.T).T)
        place = np.ix_(series, series)
        products = of_items.add(numbers, series, [len(one) for one in sets], error)
        within[place] += of_units.add(numbers, series, [len(one.units) for one in sets], summed)
        within[place] -= (degree > 1) * products
        alone[place] += products
        again[series] += overlap.units.counts(numbers)
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


def _alike(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """Numbers of blocks whose outcomes fit into one array: a few large matrix products take half
    the time of many small ones."""
    kinds = [(series.tobytes(), scores.shape[1], block.degree) for block, series, scores in blocks]
    for kind, several in groupby(range(len(blocks)), key=lambda number: kinds[number]):
        numbers = list(several)
        step = max(1, _TOGETHER // max(kind[1], 1))
        yield from (numbers[at : at + step] for at in range(0, len(numbers), step))


def _stacked(sets: Sequence["Incidence"]) -> sparse.csr_matrix:
    """Test sets of one degree side by side, without shared units; (items, units)."""
    starts = np.cumsum([0, *(len(one.units) for one in sets)])
    columns = np.concatenate(
        [one.columns + start for one, start in zip(sets, starts[:-1], strict=True)]
    )
    rows = np.arange(0, columns.size + 1, sets[0].degree)
    return sparse.csr_matrix(
        (np.ones(columns.size), columns.ravel(), rows), (len(columns), int(starts[-1]))
    )


@dataclass(frozen=True)
class _Common:
    """Keys that occur in several blocks.

    size: how many. columns, places: of each block, the columns with such a key, and the key's place
    among all of them.
    """

    size: int
    columns: list[Ints]
    places: list[Ints]

    @classmethod
    def of(cls, blocks: Sequence[Keys]) -> "_Common":
        keys, counts = np.unique(
            np.concatenate([np.zeros(0, np.uint64), *blocks]), return_counts=True
        )
        keys, columns, places = keys[counts > 1], [], []
        for own in blocks:
            place = np.minimum(np.searchsorted(keys, own), max(len(keys) - 1, 0))
            there = np.flatnonzero(keys[place] == own) if len(keys) else np.zeros(0, np.int64)
            columns.append(there)
            places.append(place[there])
        return cls(len(keys), columns, places)

    def counts(self, numbers: Sequence[int]) -> Ints:
        """The number of these blocks with each key; (size,)."""
        return np.bincount(self._places(numbers), minlength=self.size)

    def sums(self, numbers: Sequence[int], values: Floats) -> Floats:
        """Sums (r, size) by key over blocks; values: (r, keys) of their common columns."""
        places = self._places(numbers)
        return np.stack([np.bincount(places, own, self.size) for own in values])

    def _places(self, numbers: Sequence[int]) -> Ints:
        return np.concatenate([self.places[number] for number in numbers])


class Overlap:
    """The units and the items that test sets have in common."""

    def __init__(self, sets: Sequence["Incidence"]) -> None:
        self.units = _Common.of([one.units for one in sets])
        self.items = _Common.of([one.ids for one in sets])


class _Across:
    """Sums over keys and pairs of different blocks of value_a value_b; (k, k)."""

    def __init__(self, k: int, common: _Common) -> None:
        self.common = common
        self.total, self.own = np.zeros((k, common.size)), np.zeros((k, k))

    def add(
        self, numbers: Sequence[int], series: Ints, sizes: Sequence[int], values: Floats
    ) -> Floats:
        """Add the values (r, keys) of some series (r,) in blocks of these sizes; returns the sum
        over their keys of value_a value_b, (r, r)."""
        products = values @ values.T
        starts = np.cumsum([0, *sizes[:-1]])
        columns = np.concatenate(
            [self.common.columns[n] + start for n, start in zip(numbers, starts, strict=True)]
        )
        if len(columns):
            whole = len(columns) == values.shape[1]
            part = values if whole else values[:, columns]
            self.total[series] += self.common.sums(numbers, part)
            self.own[np.ix_(series, series)] += products if whole else part @ part.T
        return products

    @property
    def products(self) -> Floats:
        return self.total @ self.total.T - self.own


class Incidence:
    """The units of the items of a test set.

    ids: (n,). units: (u,), distinct. degree: units per item. columns: (n, degree), their places in
    `units`.
    """

    def __init__(self, test_set: TestSet) -> None:
        self.degree = test_set.units.shape[1]
        self.ids = test_set.ids
        self.units, columns = np.unique(test_set.units, return_inverse=True)
        self.columns = columns.reshape(test_set.units.shape)

    def __len__(self) -> int:
        return len(self.ids)
