"""Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import PackedRows
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Optimizer, Recipe, batches
from sympo.training.passes import Passes


class FineTuned(Protocol):
    """What can be fine-tuned: a model, and the log-probabilities that it gives answers."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

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
    note: Callable[[str], None] = print,
) -> None:
    """Train a policy on the answers of one-sided rows.

    tokens: that pass through the model at a time. on_step(step, steps, loss in nats per token).
    note: shows a message.
    """
    steps = recipe.epochs * recipe.steps_per_epoch(len(rows))
    optimizer = Optimizer(policy.model, recipe, steps)
    longest = int(rows.tokens.max())
    passes = Passes(tokens, longest, policy.device, note, optimizer.discard)
    policy.model.train()
    for step, batch in enumerate(batches(len(rows), recipe, seed, "fine-tuning"), 1):
        by_length = batch[np.argsort(rows.tokens[batch], kind="stable")]
        total = passes.run(partial(_add_gradients, policy, rows, by_length))
        if not np.isfinite(total):
            raise Diverged(
                f"the loss of supervised fine-tuning is {total} at step {step}; a lower "
                "learning rate may help"
            )
        optimizer.step()
        on_step(step, steps, total)


def _add_gradients(policy: FineTuned, rows: PackedRows, batch: np.ndarray, tokens: int) -> float:
    """Add the gradients of the mean over a batch's tokens, which is returned."""
    scored, total = rows.lengths[batch].sum(), 0.0
    for part in rows.batches(batch, tokens):
        logps, _ = policy.logps(rows, part)
        loss = -logps.sum() / scored
        loss.backward()
        total += loss.item()
    return total
