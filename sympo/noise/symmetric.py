"""Noise that treats all pairs alike."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.noise.flips import check_rate
from sympo.protocols.data import NoiseModel
from sympo.types import PreferencePairs


@dataclass(frozen=True)
class Symmetric(NoiseModel):
    """Every pair flips at the same rate.

    rate_i = noise
    """

    identity: ClassVar[str] = "symmetric"

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        return np.full(len(pairs), float(noise))
