"""The probability that each label is wrong, by expectation maximization."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sympo.cleaning.base import MOST_DOUBTED, PairFilter
from sympo.cleaning.posterior import wrong
from sympo.protocols.cleaning import Action, CleaningModels
from sympo.ranges import Count, Range
from sympo.types import BadArgument


@dataclass(frozen=True, kw_only=True)
class EM(PairFilter):
    """Learns the noise rate together with the probability that each label is right.

    After each epoch, every label gets the posterior w of `Posterior` at the noise rate e, which
    then becomes the mean of 1 - w over the training pairs; in the next epoch, a pair costs
    w l(m) + (1 - w) l(-m). This learns the rate if margins are calibrated log-odds of the clean
    labels. At margins near 0, as early in training, e stays what it was, and a model that
    memorises labels doubts them less and less, so that its rate falls. Source: RE-PO (Cao et al.
    2026, arXiv 2509.24159), whose two steps alternate within the training of the policy; here they
    alternate between epochs of the filter's model, so that any loss can be trained on the result.

    action: `soften` trains the cell with w as soft labels; `remove` and `flip` doubt w < 1/2.
    assumed_rate: None; `Posterior` takes a rate. initial_rate: e before the first epoch.
    """

    identity: ClassVar[str] = "em"
    actions: ClassVar[tuple[Action, ...]] = ("soften", "remove", "flip")

    action: Action = "soften"
    epochs: Count = 40
    initial_rate: Annotated[float, Range(above=0, below=0.5)] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.assumed_rate is not None:
            raise BadArgument(
                "assumed_rate", self.assumed_rate, "must be null; the filter posterior takes a rate"
            )

    @property
    def models(self) -> int:
        return 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        rate = self.initial_rate
        doubt = np.zeros((1, len(ids)))
        for _ in range(self.epochs):
            models.train_epoch(probability=1 - doubt)
            doubt = wrong(models.margins(), rate)
            rate = min(float(doubt.mean()), MOST_DOUBTED)
        found: np.ndarray = doubt[0]
        return found
