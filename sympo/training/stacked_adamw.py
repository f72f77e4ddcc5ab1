"""AdamW on the stacked weights of cells, each clipped by its own norm."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sympo.training.adam import BETA1, BETA2, EPSILON
from sympo.training.optimizer import Recipe


class StackedAdamW:
    """`sympo.training.optimizer.Optimizer` for C cells at once: warm-up, cosine, clipping, AdamW.

    weights: (C, P), updated in place; steps: of the whole recipe. done: steps taken.
    """

    def __init__(self, weights: Tensor, recipe: Recipe, steps: int) -> None:
        self.weights, self.recipe, self.steps, self.done = weights, recipe, steps, 0
        self.mean, self.square = torch.zeros_like(weights), torch.zeros_like(weights)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One update; gradient: (C, P), overwritten."""
        recipe = self.recipe
        rate = recipe.learning_rate * recipe.scale(self.done, self.steps)
        self.done += 1
        if (most := recipe.max_grad_norm) is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient.mul_((most / (norm + 1e-6)).clamp_(max=1))
        if recipe.weight_decay:
            self.weights.mul_(1 - rate * recipe.weight_decay)
        self.mean.lerp_(gradient, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        scale = self.square.sqrt().div_((1 - BETA2**self.done) ** 0.5).add_(EPSILON)
        self.weights.addcdiv_(self.mean, scale, value=-rate / (1 - BETA1**self.done))

    def state(self, cell: int) -> dict[str, Any]:
        """What the remaining steps of a cell depend on, weights included."""
        own = {name: getattr(self, name)[cell].detach().cpu().clone() for name in _TENSORS}
        return {"done": self.done, **own}

    @torch.no_grad()
    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from the `state` of each cell; all took equally many steps."""
        self.done = states[0]["done"]
        for name in _TENSORS:
            getattr(self, name).copy_(torch.stack([state[name] for state in states]))


_TENSORS = ("weights", "mean", "square")
