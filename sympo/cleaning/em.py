"""The probability that each label is wrong, by expectation maximization."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sympo.cleaning.base import MOST_DOUBTED
from sympo.cleaning.soft_labels import SoftLabels
from sympo.protocols.cleaning import CleaningModels
from sympo.ranges import Range
from sympo.types import BadArgument


@dataclass(frozen=True, kw_only=True)
class EM(SoftLabels):
    """Learns the noise rate together with the probability that each label is right (`SoftLabels`).

    After each epoch, the noise rate e becomes the mean of 1 - w over the training pairs. This
    learns the rate if margins are calibrated log-odds of the clean labels. At margins near 0, as
    early in training, e stays what it was, and a model that memorises labels doubts them less and
    less, so that its rate falls. Source: RE-PO (Cao et al. 2026, arXiv 2509.24159), whose two steps
    alternate within the training of the policy; here they alternate between epochs of the filter's
    model, so that any loss can be trained on the result.

    assumed_rate: None; `Posterior` takes a rate. initial_rate: e after the first epoch.
    """

    identity: ClassVar[str] = "em"

    initial_rate: Annotated[float, Range(above=0, below=0.5)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.assumed_rate is not None:
            raise BadArgument(
                "assumed_rate", self.assumed_rate, "must be null; the filter posterior takes a rate"
            )

    def next_rate(
        self, models: CleaningModels, epoch: int, rate: float | None, doubt: np.ndarray
    ) -> float | None:
        return self.initial_rate if rate is None else min(float(doubt.mean()), MOST_DOUBTED)
