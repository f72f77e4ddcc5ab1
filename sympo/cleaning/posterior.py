"""The probability that each label is wrong, at one noise rate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, logit

from sympo.cleaning.base import PairFilter
from sympo.protocols.cleaning import Action, CleaningModels
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Posterior(PairFilter):
    """The posterior probability that each label is right, at a noise rate e.

    A model is trained as usual until e is estimated, after a warm-up; an assumed rate needs none.
    From then on, before each epoch, a label with margin m gets w = (1 - e) s(m) / ((1 - e) s(m) +
    e s(-m)), s the logistic function, and its pair costs w l(m) + (1 - w) l(-m), l the logistic
    loss, whose gradient at that margin is that of -log((1 - e) s(m) + e s(-m)). Source: the forward
    correction (Patrini et al. 2017), as the expectation step of Cao et al. 2026 (RE-PO).

    action: `soften` trains the cell with w as soft labels; `remove` and `flip` doubt w < 1/2.
    warm_up_epochs: before e is estimated.
    """

    identity: ClassVar[str] = "posterior"
    actions: ClassVar[tuple[Action, ...]] = ("soften", "remove", "flip")

    action: Action = "soften"
    epochs: Count = 40
    warm_up_epochs: Count = 10

    @property
    def models(self) -> int:
        return 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        rate = self.assumed_rate
        doubt = np.zeros((1, len(ids)))
        for epoch in range(1, self.epochs + 1):
            models.train_epoch(probability=1 - doubt)
            # a second estimate would follow the posteriors that the first one made
            if rate is None and epoch >= min(self.warm_up_epochs, self.epochs):
                rate = self.rate(models)
            if rate is not None:
                doubt = wrong(models.margins(), rate)
        found: np.ndarray = doubt[0]
        return found


def wrong(margins: np.ndarray, rate: float) -> np.ndarray:
    """1 - w, the posterior probability that labels with these margins are wrong at a noise rate."""
    # w has the log-odds m + log((1 - e) / e)
    found: np.ndarray = expit(logit(rate) - margins)
    return found
