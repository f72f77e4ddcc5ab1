"""Label noise: the flip probability of each pair, and the flips.

A flip is u < rate with one uniform u per pair, keyed by seed and pair id, so that the flips at a
low rate are among those at a higher one and a subset of the pairs keeps its flips.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Annotated, ClassVar

import numpy as np

from sympo import ranges, seeding
from sympo.numeric import sigmoid
from sympo.protocols.data import NoiseModel
from sympo.ranges import Range
from sympo.types import BadInput, NoisyPairs, PreferencePairs


def flip(model: NoiseModel, noise: float, pairs: PreferencePairs, seed: int) -> NoisyPairs:
    """Pairs with the flips that a noise model draws for them at a rate `noise` in [0, 0.5).

    A probability that came with a label stays with it when it flips, as if the annotator had been
    as sure of the wrong response.
    """
    _check(noise)
    flipped = seeding.uniform(seed, "flip", pairs.ids) < model.rates(noise, pairs, seed)
    return NoisyPairs(pairs, flipped, probability=pairs.probability)


@dataclass(frozen=True)
class Symmetric(NoiseModel):
    """Every pair flips at the same rate.

    rate_i = noise
    """

    identity: ClassVar[str] = "symmetric"

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        _check(noise)
        return np.full(len(pairs), float(noise))


@dataclass(frozen=True)
class Asymmetric(NoiseModel):
    """The rate depends on the presented label.

    rate_i = eps_p = (1 + k) noise if the presented label is +1, eps_n = (1 - k) noise if it is -1.

    The presentation order is a fair coin per pair, drawn before the flips, so that data stored as
    chosen/rejected (every label +1) has an order at all. It changes no pair: the margin y g is the
    same in both orders. By Lemma 1 of the paper (Nishimori et al. 2025) the risk is that of
    symmetric noise at (eps_p + eps_n) / 2 = noise.

    k: how one-sided the noise is, in [-1, 1]; BadArgument otherwise.
    """

    identity: ClassVar[str] = "asymmetric"

    k: Annotated[float, Range(least=-1, most=1)] = 0.5

    def __post_init__(self) -> None:
        ranges.check(self)

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        _check(noise)
        swapped = seeding.uniform(seed, "presentation", pairs.ids) < 0.5
        presented_label = np.where(swapped, -pairs.label, pairs.label)
        return noise * (1 + self.k * presented_label)


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
        _check(noise)
        gap = pairs.score_gap if pairs.gap is None else pairs.gap
        if gap is None:
            raise BadInput(
                "noise_model=instance_dependent needs the true reward or a score of both items, "
                "which this data set does not have; use symmetric or asymmetric, or "
                "dataset=preferences with dataset.score_chosen and dataset.score_rejected"
            )
        if noise == 0 or len(pairs) == 0:
            return np.zeros(len(pairs))
        tied = np.mean(gap == 0)
        if noise < tied / 2:
            raise BadInput(
                f"noise={noise} is not reachable with noise_model=instance_dependent: {tied:.1%} "
                f"of the pairs have gap 0 and flip half of the time, so it must be at least "
                f"{tied / 2:.4g}"
            )
        return _rates_with_mean(noise, np.abs(gap))


@dataclass(frozen=True)
class SecondJudge(NoiseModel):
    """Labels as a second annotator gave them: only pairs on which the two disagree flip.

    rate_i = min(1, noise / d) if disputed_i, otherwise 0; d is the share of disputed pairs, so that
    the mean rate is `noise`, and at noise = d the labels are exactly those of the second annotator.

    Raises BadInput if the pairs have no second annotator, or if noise exceeds d by more than three
    standard errors of a share: splits of one data set differ by less than that.
    """

    identity: ClassVar[str] = "second_judge"

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        _check(noise)
        if pairs.disputed is None:
            raise BadInput(
                "noise_model=second_judge needs a second annotator of the pairs, which this data "
                "set does not have; use dataset=two_judges, or symmetric or asymmetric noise"
            )
        if noise == 0 or len(pairs) == 0:
            return np.zeros(len(pairs))
        share = float(pairs.disputed.mean())
        if noise > share + 3 * np.sqrt(noise * (1 - noise) / len(pairs)):
            raise BadInput(
                f"noise={noise} is not reachable with noise_model=second_judge: the second judge "
                f"disagrees on {share:.1%} of the pairs, so it must be at most {share:.3g}"
            )
        return np.where(pairs.disputed, min(1.0, noise / share) if share else 0.0, 0.0)


def _rates_with_mean(mean: float, gap: np.ndarray) -> np.ndarray:
    """sigmoid(-gap / s) at the s that gives it this mean; some gap is positive."""
    from scipy.optimize import brentq  # takes half a second, which only this model needs

    # in logs, so that the solver meets one scale whatever the unit of the reward
    with np.errstate(divide="ignore"):
        log_gap = np.log(gap)

    def rates(log_s: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            return sigmoid(-np.exp(log_gap - log_s))

    # at these ends every positive gap has rate 0, and every gap has rate 1/2, in float64
    low, high = log_gap[gap > 0].min() - 7, log_gap.max() + 40
    return rates(float(brentq(lambda log_s: rates(log_s).mean() - mean, low, high, xtol=1e-12)))


def _check(noise: float) -> None:
    if not (isinstance(noise, Real) and 0 <= noise < 0.5):
        raise BadInput(f"noise={noise} is not allowed: it must lie in [0, 0.5)")
