"""The probability that each label is wrong, by expectation maximization."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sympo.cleaning.base import MOST_DOUBTED, PairFilter
from sympo.cleaning.posterior import wrong
from sympo.protocols.cleaning import Action, CleaningModels
from sympo.ranges import Count, Range


@dataclass(frozen=True, kw_only=True)
class EM(PairFilter):
    """Learns the noise rate together with the probability that each label is right.

    After each epoch, every label gets the posterior w of `Posterior` at the noise rate e, which
    then becomes the mean of 1 - w over the training pairs, unless it is assumed; in the next epoch
    a pair costs w l(m) + (1 - w) l(-m). It learns the rate if margins are calibrated log-odds
    without noise; a model that fits noisy labels doubts them less and less, and its rate falls.
    Source: RE-PO (Cao et al. 2026, arXiv 2509.24159), whose two steps alternate within the training
    of the policy; here they alternate between epochs of the filter's model, so that any loss can be
    trained on the result.

    action: `soften` trains the cell with w as soft labels; `remove` and `flip` doubt w < 1/2.
    initial_rate: e before the first epoch, unless it is assumed.
    """

    identity: ClassVar[str] = "em"
    actions: ClassVar[tuple[Action, ...]] = ("soften", "remove", "flip")

    action: Action = "soften"
    epochs: Count = 40
    initial_rate: Annotated[float, Range(above=0, below=0.5)] = 0.1

    @property
    def models(self) -> int:
        return 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        rate = self.initial_rate if self.assumed_rate is None else self.assumed_rate
        doubt = np.zeros((1, len(ids)))
        for _ in range(self.epochs):
            models.train_epoch(probability=1 - doubt)
            doubt = wrong(models.margins(), rate)
            if self.assumed_rate is None:
                rate = min(float(doubt.mean()), MOST_DOUBTED)
        found: np.ndarray = doubt[0]
        return found
