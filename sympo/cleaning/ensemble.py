"""Pairs that are contradicted by models which were not trained on them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sympo import seeding
from sympo.cleaning.base import PairFilter, smallest
from sympo.protocols.cleaning import CleaningModels
from sympo.ranges import Count, Range


@dataclass(frozen=True, kw_only=True)
class Ensemble(PairFilter):
    """Doubts the pairs whose label is contradicted by a model that was trained without them.

    Pairs are divided into folds, and each model is trained on all folds but one. A pair is doubted
    if its held-out margin is negative; with an assumed rate e, at most e n pairs are, those with
    the smallest margins. Source: cross-validated training (Chen et al. 2019, INCV), confident
    learning (Northcutt et al. 2021).

    folds: how many, and so how many models.
    """

    identity: ClassVar[str] = "ensemble"

    epochs: Count = 10
    folds: Annotated[int, Range(least=2, most=100)] = 5

    @property
    def models(self) -> int:
        return self.folds

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        # folds of equal size, drawn by the pairs' ids
        fold = np.argsort(np.argsort(seeding.uniform(seed, "fold", ids))) % self.folds
        weight = (fold != np.arange(self.folds)[:, None]).astype(np.float64)
        for _ in range(self.epochs):
            models.train_epoch(weight)
        held_out = models.margins()[fold, np.arange(len(ids))]
        doubted: np.ndarray = held_out < 0
        if self.assumed_rate is not None:
            doubted &= smallest(held_out, self.assumed_rate)
        return doubted
