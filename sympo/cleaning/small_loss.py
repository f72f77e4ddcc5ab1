"""Pairs with the largest loss after a short training."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.cleaning.base import PairFilter, smallest
from sympo.protocols.cleaning import CleaningModels


@dataclass(frozen=True, kw_only=True)
class SmallLoss(PairFilter):
    """Doubts the pairs with the largest loss after a warm-up, as many as the noise rate says.

    Networks learn what labels have in common before they memorise flips, so that after a few epochs
    a large loss points to a wrong label. Source: the small-loss rule (Arpit et al. 2017; Jiang et
    al. 2018).

    epochs: of the warm-up.
    """

    identity: ClassVar[str] = "small_loss"

    @property
    def models(self) -> int:
        return 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        for _ in range(self.epochs):
            models.train_epoch()
        return smallest(models.margins()[0], self.rate(models))
