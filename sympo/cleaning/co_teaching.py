"""Two networks that choose each other's training pairs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.cleaning.base import PairFilter, smallest
from sympo.protocols.cleaning import CleaningModels
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class CoTeaching(PairFilter):
    """Doubts the pairs with the largest loss under two networks that teach each other.

    In epoch T, each network is trained on the 1 - e min(1, T / T_k) of the pairs that have the
    smallest loss under the other one, e the noise rate. After the last epoch, the e n pairs with
    the smallest mean margin are doubted. Source: Han et al. 2018 (Co-teaching), who choose within
    every mini-batch; here networks choose between epochs, among all pairs.

    ramp_epochs: T_k, after which all suspects are left out.
    """

    identity: ClassVar[str] = "co_teaching"

    epochs: Count = 20
    ramp_epochs: Count = 10

    @property
    def models(self) -> int:
        return 2

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        weight = None
        for epoch in range(1, self.epochs + 1):
            models.train_epoch(weight)
            dropped = self.rate(models) * min(1.0, epoch / self.ramp_epochs)
            kept = ~smallest(models.margins(), dropped)
            weight = kept[::-1].astype(np.float64)
        return smallest(models.margins().mean(0), self.rate(models))
