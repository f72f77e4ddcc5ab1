"""Noise that depends on the presented label, with a random presentation order or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np

from sympo import ranges, seeding
from sympo.noise.flips import check_rate
from sympo.noise.gaps import closeness
from sympo.protocols.data import NoiseModel
from sympo.ranges import Range
from sympo.types import BadArgument, NoiseCase, PreferencePairs

Presentation = Literal["random", "by_gap"]


@dataclass(frozen=True)
class Asymmetric(NoiseModel):
    """The rate depends on the presented label.

    rate_i = eps_p = (1 + k) noise if the presented label is +1, eps_n = (1 - k) noise if it is -1.

    The presentation order is drawn per pair before the flips, so that data stored as
    chosen/rejected (every label +1) has an order at all. It changes no pair: the margin y g is the
    same in both orders. By Lemma 1 of the paper (Nishimori et al. 2025) the risk with a fair coin
    is that of symmetric noise at (eps_p + eps_n) / 2 = noise. `by_gap` is the control in which the
    lemma does not hold: the probability pi_i of a presented label of +1 varies from pair to pair,
    and its mean remains 1/2, so that the expected rate of a pair is (1 + k (2 pi_i - 1)) noise.

    k: how one-sided the noise is, in [-1, 1]; BadArgument otherwise.
    presentation: `random`, pi_i = 1/2; or `by_gap`, where pi_i falls from 1 to 0 from the closest
        pair to that with the widest gap (true rewards or scores), by rank; BadInput without gaps.
    """

    identity: ClassVar[str] = "asymmetric"

    k: Annotated[float, Range(least=-1, most=1)] = 0.5
    presentation: Presentation = "random"

    def __post_init__(self) -> None:
        ranges.check(self)
        if self.presentation not in (known := get_args(Presentation)):
            raise BadArgument(
                "presentation", self.presentation, f"is not known: use one of {', '.join(known)}"
            )

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        drawn = seeding.uniform(seed, "presentation", pairs.ids)
        if self.presentation == "random":
            presented = np.where(drawn < 0.5, -pairs.label, pairs.label)
        else:
            presented = np.where(drawn < self._positive(pairs), 1.0, -1.0)
        return noise * (1 + self.k * presented)

    def cases(self, noise: float, pairs: PreferencePairs, seed: int) -> Sequence[NoiseCase]:
        """Both presented labels with their probabilities."""
        check_rate(noise)
        positive, every = self._positive(pairs), np.ones(len(pairs))
        return [
            NoiseCase(positive, noise * (1 + self.k) * every),
            NoiseCase(1 - positive, noise * (1 - self.k) * every),
        ]

    def _positive(self, pairs: PreferencePairs) -> np.ndarray:
        """pi_i, the probability that the presented label is +1; (n,)."""
        if self.presentation == "random":
            return np.full(len(pairs), 0.5)
        return closeness(pairs, "noise_model.presentation=by_gap")
