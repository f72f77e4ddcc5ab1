"""The settings that filters share, and how pairs are ranked."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo import ranges
from sympo.evaluation.flips import noise_estimate
from sympo.protocols.cleaning import Action, CleaningModels
from sympo.ranges import Count, Rate
from sympo.types import BadArgument

# labels that are wrong more often than right would be the other labels
MOST_DOUBTED = 0.5


@dataclass(frozen=True, kw_only=True)
class PairFilter(ABC):
    """Settings that all filters share; a new one implements `suspects`.

    actions: those that it allows; `soften` needs probabilities instead of suspects.
    action: what becomes of suspects: `remove` gives them weight 0 in training, `flip` turns their
        label around.
    assumed_rate: the noise rate that the filter assumes; None estimates it by the margins of the
        noisy validation pairs (`sympo.evaluation.flips.noise_estimate`).
    epochs: how long its models are trained.
    """

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    actions: ClassVar[tuple[Action, ...]] = ("remove", "flip")

    action: Action = "remove"
    assumed_rate: Rate | None = None
    epochs: Count = 10

    def __post_init__(self) -> None:
        ranges.check(self)
        if self.action not in self.actions:
            raise BadArgument("action", self.action, f"must be one of {', '.join(self.actions)}")

    @property
    @abstractmethod
    def models(self) -> int:
        """How many models it asks for."""

    @abstractmethod
    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        """The pairs that it doubts; (n,) bool, or the probability that each label is wrong."""

    def rate(self, models: CleaningModels) -> float:
        """The assumed noise rate, or the one that the validation margins imply now."""
        if self.assumed_rate is not None:
            return self.assumed_rate
        return min(noise_estimate(models.validation_margins().mean(0))[0], MOST_DOUBTED)


def smallest(margins: np.ndarray, share: float) -> np.ndarray:
    """The share of pairs with the smallest margins, by which every loss that falls with the margin
    is largest; (..., n) -> (..., n) bool."""
    n = margins.shape[-1]
    found = np.zeros(margins.shape, dtype=bool)
    order = np.argsort(margins, axis=-1, kind="stable")[..., : round(share * n)]
    np.put_along_axis(found, order, True, axis=-1)
    return found
