"""Noise that depends on how close a pair is."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.noise.flips import check_rate
from sympo.noise.gaps import known_gap
from sympo.noise.mean_rate import rates_with_mean
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, PreferencePairs


@dataclass(frozen=True)
class InstanceDependent(NoiseModel):
    """Close pairs flip more often: the mistakes of a second Bradley-Terry labeller.

    rate_i = sigmoid(-|gap_i| / s), never above 1/2; the temperature s makes the mean rate over the
    given pairs equal to `noise`, so draw the flips of a whole data set, then take subsets. The gap
    is that of the true rewards or, if they are unknown, of the scores that came with the labels.

    Raises BadInput if the pairs have neither, or so many gaps of 0, which flip half of the time,
    that the mean cannot be as low as `noise`.
    """

    identity: ClassVar[str] = "instance_dependent"

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        gap = known_gap(pairs, "noise_model=instance_dependent")
        if noise == 0 or len(pairs) == 0:
            return np.zeros(len(pairs))
        tied = np.mean(gap == 0)
        if noise < tied / 2:
            raise BadInput(
                f"noise={noise} is not reachable with noise_model=instance_dependent: {tied:.1%} "
                f"of the pairs have gap 0 and flip half of the time, so it must be at least "
                f"{tied / 2:.4g}"
            )
        return rates_with_mean(noise, gap)
