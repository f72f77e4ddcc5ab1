"""Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from sympo.models.texts.packed_rows import PackedRows
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Optimizer, Recipe, batches


class FineTuned(Protocol):
    """What can be fine-tuned: a model, and the log-probabilities that it gives answers."""

    @property
    def model(self) -> nn.Module: ...

    def logps(self, rows: PackedRows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Summed log-probabilities of the answers of rows, and their numbers of tokens; both (rows,
        sides)."""
        ...


def fine_tune(
    policy: FineTuned,
    rows: PackedRows,
    recipe: Recipe,
    seed: int,
    tokens: int,
    on_step: Callable[[int, int, float], None],
) -> None:
    """Train a policy on the answers of one-sided rows.

    tokens: that pass through the model at a time. on_step(step, steps, loss in nats per token).
    """
    steps = recipe.epochs * recipe.steps_per_epoch(len(rows))
    optimizer = Optimizer(policy.model, recipe, steps)
    policy.model.train()
    for step, batch in enumerate(batches(len(rows), recipe, seed, "fine-tuning"), 1):
        scored = rows.lengths[batch].sum()
        total = 0.0
        by_length = batch[np.argsort(rows.tokens[batch], kind="stable")]
        for part in rows.batches(by_length, tokens):
            logps, _ = policy.logps(rows, part)
            loss = -logps.sum() / scored
            loss.backward()
            total += loss.item()
        if not np.isfinite(total):
            raise Diverged(
                f"the loss of supervised fine-tuning is {total} at step {step}; a lower "
                "learning rate may help"
            )
        optimizer.step()
        on_step(step, steps, total)
