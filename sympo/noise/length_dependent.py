"""Noise of labellers who prefer the longer response."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sympo import ranges
from sympo.noise.flips import check_rate
from sympo.protocols.data import NoiseModel
from sympo.ranges import Range
from sympo.types import BadInput, PreferencePairs


@dataclass(frozen=True)
class LengthDependent(NoiseModel):
    """Pairs whose preferred response is the shorter one flip more often.

    A labeller does not read a pair with probability g; such a pair gets the longer response with
    probability (1 + bias) / 2, and a coin decides between equal lengths:

        rate_i = g / 2 (1 + bias s_i),  s_i = +1, 0, -1 if the preferred response is the shorter
        one, as long, or the longer one.

    g makes the mean rate over the given pairs equal to `noise`, so draw the flips of a whole data
    set, then take subsets. With g (1 + bias) > 1, pairs with a shorter preferred response flip more
    often than not, and no loss is known to withstand that.

    bias: 0 is symmetric noise; at 1 only pairs with a shorter (or equally long) preferred response
        flip. In [0, 1]; BadArgument otherwise.

    Raises BadInput if the pairs have no lengths, or if the mean cannot be as high as `noise`.
    """

    identity: ClassVar[str] = "length_dependent"

    bias: Annotated[float, Range(least=0, most=1)] = 0.5

    def __post_init__(self) -> None:
        ranges.check(self)

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        if pairs.length_gap is None:
            raise BadInput(
                "noise_model=length_dependent needs two responses with a length, which this data "
                "set does not have; use a data set of texts, such as dataset=gold_language"
            )
        if len(pairs) == 0:
            return np.zeros(0)
        shorter = -np.sign(pairs.length_gap * pairs.label)
        most = (1 + self.bias * shorter.mean()) / 2
        if noise > most:
            raise BadInput(
                f"noise={noise} is not reachable with noise_model=length_dependent: labels by "
                f"length alone at noise_model.bias={self.bias:g} flip {most:.1%} of these pairs, "
                f"so it must be at most {most:.3g}"
            )
        rates: np.ndarray = noise * (1 + self.bias * shorter) / (2 * most) if most else 0 * shorter
        return rates
