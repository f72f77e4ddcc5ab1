from dataclasses import dataclass

import numpy as np

from sympo import seeding
from sympo.protocols.data import NoiseModel
from sympo.types import PreferencePairs


@dataclass(frozen=True)
class CarelessAnnotator(NoiseModel):
    """A share of the pairs is labelled by a careless annotator, who makes all the mistakes."""

    identity = "careless_annotator"
    share: float = 0.5

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        careless = seeding.uniform(seed, "careless", pairs.ids) < self.share
        return np.where(careless, noise / self.share, 0.0)
