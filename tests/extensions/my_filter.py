from dataclasses import dataclass

import numpy as np

from sympo.cleaning import PairFilter
from sympo.protocols.cleaning import CleaningModels


@dataclass(frozen=True, kw_only=True)
class OftenContradicted(PairFilter):
    """Doubts the pairs whose label a model contradicts after most of its epochs."""

    identity = "often_contradicted"
    often: float = 0.5
    models = 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        contradicted = np.zeros(len(ids))
        for _ in range(self.epochs):
            models.train_epoch()
            contradicted += models.margins()[0] < 0
        return contradicted > self.often * self.epochs
