"""Supervised fine-tuning: the mean negative log-likelihood of the answers' tokens."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sympo.distributed import processes
from sympo.distributed.level import leveled
from sympo.distributed.sums import add_up
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

    @property
    def divided(self) -> bool:
        """Whether processes divide its weights."""
        ...

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
    """Train a policy on the answers of one-sided rows; several processes share each batch.

    tokens: that pass through the model at a time. on_step(step, steps, loss in nats per token).
    note: shows a message.
    """
    steps = recipe.epochs * recipe.steps_per_epoch(len(rows))
    optimizer = Optimizer(policy.model, recipe, steps, policy.divided)
    longest = int(rows.tokens.max())
    passes = Passes(tokens, longest, policy.device, note, optimizer.discard, policy.divided)
    policy.model.train()
    for step, batch in enumerate(batches(len(rows), recipe, seed, "fine-tuning"), 1):
        own = processes.share(batch)
        own = own[np.argsort(rows.tokens[own], kind="stable")]
        scored = float(rows.lengths[batch].sum())
        total = passes.run(partial(_add_gradients, policy, rows, own, scored))
        total = add_up(optimizer.parameters, 0.0, total, policy.divided)
        if not np.isfinite(total):
            raise Diverged(
                f"the loss of supervised fine-tuning is {total} at step {step}; a lower "
                "learning rate may help"
            )
        optimizer.step()
        on_step(step, steps, total)


def _add_gradients(
    policy: FineTuned, rows: PackedRows, own: np.ndarray, scored: float, tokens: int
) -> float:
    """Add the gradients of this process's part of the mean over `scored` tokens, which is
    returned."""
    total = 0.0
    for part, counts in leveled(rows.batches(own, tokens), policy.divided):
        logps, _ = policy.logps(rows, part)
        loss = -logps.sum() / scored
        torch.autograd.backward(loss if counts else 0.0 * loss)
        total += counts * loss.item()
    return total
