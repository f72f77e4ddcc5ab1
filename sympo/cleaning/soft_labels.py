"""What filters share that find the probability that each label is wrong."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, logit

from sympo.cleaning.base import PairFilter
from sympo.protocols.cleaning import Action, CleaningModels
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class SoftLabels(PairFilter):
    """Trains a model on the posterior probabilities that its own margins give.

    Before each epoch but the first, a label with margin m gets
    w = (1 - e) s(m) / ((1 - e) s(m) + e s(-m)), s the logistic function and e the noise rate, and
    its pair costs w l(m) + (1 - w) l(-m), l the logistic loss, whose gradient at that margin is
    that of -log((1 - e) s(m) + e s(-m)). A new filter implements `next_rate`.

    action: `soften` trains the cell with w as soft labels; `remove` and `flip` doubt w < 1/2.
    """

    actions: ClassVar[tuple[Action, ...]] = ("soften", "remove", "flip")

    action: Action = "soften"
    epochs: Count = 40

    @property
    def models(self) -> int:
        return 1

    @abstractmethod
    def next_rate(
        self, models: CleaningModels, epoch: int, rate: float | None, doubt: np.ndarray
    ) -> float | None:
        """e after so many epochs; None to take labels as right for another one.

        rate, doubt: e and 1 - w before.
        """

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        rate: float | None = None
        doubt = np.zeros((1, len(ids)))
        for epoch in range(1, self.epochs + 1):
            models.train_epoch(probability=1 - doubt)
            rate = self.next_rate(models, epoch, rate, doubt)
            if rate is not None:
                # w has the log-odds m + log((1 - e) / e); those of 1 - w are the opposite
                doubt = expit(logit(rate) - models.margins())
        found: np.ndarray = doubt[0]
        return found
