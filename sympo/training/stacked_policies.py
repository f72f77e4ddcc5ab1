"""Trains small policies of several cells together on the same pairs, each with its own labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.protocols.models import Loss, Margin
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Recipe, batches
from sympo.training.stacked_adamw import StackedAdamW
from sympo.training.stacked_objective import StackedObjective, stacked_column


class StackedPreferenceTrainer:
    """`PreferenceTrainer` for C cells at once: the same batches in the same order for all, and a
    loss and labels for each.

    table: rows of two sides, chosen and rejected; lengths: (n, 2), scored tokens of each. labels:
        (C, n) +1, or -1 if the label is flipped. reference: (n, 2) scores of the answers by the
        reference policy, None for margins without one. weights, probabilities: for each cell (n,),
        as `NoisyPairs` has them.

    diverged: the cells that diverged, by number; they do not affect the others, and their later
    numbers mean nothing.
    """

    def __init__(
        self,
        model: StackedLlama,
        table: RowTable,
        lengths: np.ndarray,
        labels: np.ndarray,
        reference: np.ndarray | None,
        margin: Margin,
        losses: Sequence[Loss],
        recipe: Recipe,
        seed: int,
        weights: Sequence[np.ndarray | None] | None = None,
        probabilities: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self.model, self.margin, self.losses = model, margin, list(losses)
        self.recipe, self.seed = recipe, seed
        self.table, self.lengths = table, self._tensor(lengths)
        self.labels = self._tensor(labels)
        self.reference = None if reference is None else self._tensor(reference)
        self.weight, self.probability = self._column(weights), self._column(probabilities)
        self.objective = StackedObjective(
            margin,
            losses,
            model.device,
            shared=model.device.type != "cpu",
            weighted=[one is not None for one in weights] if weights else None,
        )
        self.steps_per_epoch = recipe.steps_per_epoch(len(lengths))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.optimizer = StackedAdamW(model.weights, recipe, self.steps)
        self.diverged: dict[int, Diverged] = {}

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=self.model.weights.dtype).to(self.model.device)

    def _column(self, cells: Sequence[np.ndarray | None] | None) -> Tensor | None:
        column = stacked_column(cells or (), self.labels.shape[1])
        return None if column is None else self._tensor(column)

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.optimizer.done

    def train(self, on_step: Callable[[np.ndarray], None]) -> None:
        """Take the remaining steps, or until all cells have diverged; on_step(losses of the step,
        (C,)) after each."""
        n = self.labels.shape[1]
        for batch in batches(n, self.recipe, self.seed, "preferences", self.done):
            losses = self.step(batch)
            for cell in np.flatnonzero(~np.isfinite(losses)).tolist():
                error = Diverged(
                    f"the training loss of {self.losses[cell]} is {losses[cell]} at step "
                    f"{self.done}; a lower learning rate may help"
                )
                self.diverged.setdefault(cell, error)
            if len(self.diverged) == len(losses):
                break
            on_step(losses)

    def step(self, batch: np.ndarray) -> np.ndarray:
        """One update on the pairs `batch`; returns each cell's reduced loss before it, (C,)."""
        batch = batch[np.argsort(self.table.lengths[batch], kind="stable")]
        grids = self.table.grids(batch, self.model.tokens_per_pass)
        scores = torch.cat([self.model.logps(grid) for grid in grids], 1)
        index = torch.from_numpy(batch).to(self.model.device)
        reference = None if self.reference is None else self.reference[index].expand_as(scores)
        rewards = self.margin.rewards(scores, reference, self.lengths[index].expand_as(scores))
        labels, weight, probability = (
            None if column is None else column.index_select(1, index)
            for column in (self.labels, self.weight, self.probability)
        )
        assert labels is not None
        reduced = self.objective.reduced(
            rewards[..., 0], rewards[..., 1], labels, weight, probability
        )
        (gradient,) = torch.autograd.grad(reduced.sum(), [self.model.weights])
        self.optimizer.step(gradient)
        found: np.ndarray = reduced.detach().double().cpu().numpy()
        return found

    def state(self) -> list[dict[str, Any]]:
        """The checkpoint of each cell, which can be resumed in any batch."""
        return [self.optimizer.state(cell) for cell in range(len(self.losses))]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from the `state` of each cell; all took equally many steps."""
        self.optimizer.restore(states)


@torch.no_grad()
def score(model: StackedLlama, table: RowTable, first: int | None = None) -> np.ndarray:
    """The log-probability of each response of a table's rows, or its first ones; (C, rows, sides)
    float64."""
    order = np.argsort(table.lengths[:first], kind="stable")
    found = [model.logps(grid) for grid in table.grids(order, model.tokens_per_pass)]
    scores = np.empty((model.cells, len(order), table.sides))
    scores[:, order] = torch.cat(found, 1).double().cpu().numpy()
    return scores
