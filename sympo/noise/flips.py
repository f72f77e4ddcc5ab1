"""The flips that a noise model draws, and the check of the rate that all noise models share.

A flip is u < rate with one uniform u per pair, keyed by seed and pair id, so that the flips at a
low rate are among those at a higher one and a subset of the pairs keeps its flips.
"""

from numbers import Real

from sympo import seeding
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, NoisyPairs, PreferencePairs


def flip(model: NoiseModel, noise: float, pairs: PreferencePairs, seed: int) -> NoisyPairs:
    """Pairs with the flips that a noise model draws for them at a rate `noise` in [0, 0.5).

    A probability that came with a label stays with it when it flips, as if the annotator had been
    as sure of the wrong response.
    """
    check_rate(noise)
    flipped = seeding.uniform(seed, "flip", pairs.ids) < model.rates(noise, pairs, seed)
    return NoisyPairs(pairs, flipped, probability=pairs.probability)


def check_rate(noise: float) -> None:
    """Raise BadInput for a rate outside [0, 0.5)."""
    if not (isinstance(noise, Real) and 0 <= noise < 0.5):
        raise BadInput(f"noise={noise} is not allowed: it must lie in [0, 0.5)")
