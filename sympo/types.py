"""Typed records that the rooms of the library hand to each other."""

from dataclasses import dataclass

import numpy as np


class BadInput(ValueError):
    """A setting or a data file that cannot work: one sentence that names the key or file, the
    value and what is allowed. Raised before any work starts."""


@dataclass(frozen=True)
class PreferencePairs:
    """Pairs of items with a clean preference, in one presentation order; n pairs.

    ids: (n,) uint64, stable across runs; the key of every per-pair random draw.
    first, second: (n,) int64, indices of the two items of a pair in its data set.
    label: (n,) float, the clean label y: +1 where the first item is preferred, -1 otherwise.
    gap: (n,) float, the true reward difference r(first) - r(second); None where no true reward
        exists (human or model labels).
    """

    ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    gap: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class NoisyPairs:
    """Preference pairs and the flips that a noise model drew for them.

    flipped: (n,) bool, the true flip mask; it travels with the pairs so that evaluation can ask
        what a model made of the flipped ones.
    """

    pairs: PreferencePairs
    flipped: np.ndarray

    @property
    def noisy_label(self) -> np.ndarray:
        """The label that training sees: -y where flipped, y elsewhere."""
        return np.where(self.flipped, -self.pairs.label, self.pairs.label)
