"""The rates of labellers of different ability."""

import numpy as np

from sympo import seeding
from sympo.noise.mean_rate import rates_with_mean


def group_rates(noise: float, groups: np.ndarray, seed: int, name: str) -> np.ndarray:
    """sigmoid(-a_g / s), never above 1/2, for the group g of each pair; (n,).

    The ability a_g is an exponential draw keyed by seed and group; s makes the mean of the result
    equal to `noise`. This is the model of Whitehill et al. (2009), GLAD, with items of equal
    difficulty.

    groups: (n,) uint64. name: the purpose of the draw.
    """
    if noise == 0 or len(groups) == 0:
        return np.zeros(len(groups))
    # 1 - u lies in (0, 1]: an ability is finite, and above 0 unless u is
    ability = -np.log1p(-seeding.uniform(seed, name, groups))
    return rates_with_mean(noise, ability)
