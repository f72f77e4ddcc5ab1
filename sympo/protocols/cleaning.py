"""Contracts of filters, which clean noisy pairs, and of the models that they ask."""

from typing import ClassVar, Literal, Protocol

import numpy as np

Action = Literal["remove", "flip", "soften"]


class CleaningModels(Protocol):
    """M models, trained side by side on one cell's noisy training pairs; they see no clean label.

    They have the model, batch size and learning rate of the cell and the logistic loss, and differ
    in their initial weights, as far as these are drawn, and in the order of their batches.
    """

    def train_epoch(
        self, weight: np.ndarray | None = None, probability: np.ndarray | None = None
    ) -> None:
        """Train every model for one more epoch.

        weight: (M, n), of each training pair in each model's loss, from now on; 0 leaves it out.
        probability: (M, n), that its label is right, from now on (`NoisyPairs`); to be given in the
        first epoch if it is given in any.
        """

    def margins(self) -> np.ndarray:
        """m = y~ (r(first) - r(second)) of every training pair by every model; (M, n)."""

    def validation_margins(self) -> np.ndarray:
        """m of the noisy validation pairs; (M, pairs)."""


class Filter(Protocol):
    """Finds the training pairs whose labels it doubts, before training.

    identity, outside_identity: as of every part of a config.
    """

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]]

    @property
    def action(self) -> Action:
        """What becomes of suspects: `remove` gives them weight 0, `flip` turns their label, and
        `soften` gives every pair the probability that its label is right."""
        ...

    @property
    def assumed_rate(self) -> float | None:
        """The noise rate that it assumes; None if it estimates the rate."""
        ...

    @property
    def models(self) -> int:
        """How many models it asks for."""
        ...

    @property
    def epochs(self) -> int:
        """How many epochs it trains them; a shorter cell shortens it."""
        ...

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        """The pairs that it doubts, (n,) bool, or the probability that each label is wrong, (n,)
        float, which makes suspects of those above 1/2.

        models: untrained. ids: (n,) uint64 of the training pairs. seed: of the cell.
        """
        ...
