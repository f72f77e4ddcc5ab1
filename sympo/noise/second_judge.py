"""Noise as a second annotator makes it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.noise.flips import check_rate
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, PreferencePairs


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
        check_rate(noise)
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
