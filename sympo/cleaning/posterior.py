"""The probability that each label is wrong, at one noise rate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.cleaning.soft_labels import SoftLabels
from sympo.protocols.cleaning import CleaningModels
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Posterior(SoftLabels):
    """The posterior probability that each label is right (`SoftLabels`), at one noise rate e.

    A model is trained as usual until e is estimated, after a warm-up, or for one epoch if e is
    assumed. Source: the forward correction (Patrini et al. 2017), as the expectation step of Cao et
    al. 2026 (RE-PO).

    warm_up_epochs: before e is estimated; of as many epochs or fewer, only the last margins use e.
    """

    identity: ClassVar[str] = "posterior"

    warm_up_epochs: Count = 10

    def next_rate(
        self, models: CleaningModels, epoch: int, rate: float | None, doubt: np.ndarray
    ) -> float | None:
        # a second estimate would follow the posteriors that the first one made
        if rate is not None:
            return rate
        due = self.assumed_rate is not None or epoch >= min(self.warm_up_epochs, self.epochs)
        return self.rate(models) if due else None
