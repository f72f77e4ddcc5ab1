"""The optimizer of language models: AdamW with warm-up, cosine decay and clipping."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sympo import ranges, seeding
from sympo.ranges import Amount, Count, NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast a language model is trained.

    epochs: passes over the data; batch_size: rows per step of the optimizer; learning_rate: peak,
        reached after `warmup_steps` steps of linear warm-up, then a cosine to 0 at the last step;
    weight_decay: AdamW's; max_grad_norm: gradients are clipped to this norm, None for no clipping.
    """

    epochs: Count = 1
    batch_size: Count = 64
    learning_rate: Positive = 5e-6
    warmup_steps: Amount = 150
    weight_decay: NotNegative = 0.0
    max_grad_norm: Positive | None = 5.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def slow_start(self, rows: int) -> str | None:
        """A warning if the warm-up takes all steps, otherwise None."""
        steps = self.epochs * self.steps_per_epoch(rows)
        if self.warmup_steps < steps:
            return None
        return (
            f"training ends after {steps} step{'s' * (steps != 1)}, before the warm-up does "
            f"(warmup_steps={self.warmup_steps}): the learning rate "
            f"ends at {self.scale(steps - 1, steps):.0%} of its peak"
        )

    def steps_per_epoch(self, rows: int) -> int:
        return math.ceil(rows / self.batch_size)

    def scale(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, relative to the peak."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batches(
    rows: int, recipe: Recipe, seed: int, purpose: str, first_step: int = 0
) -> Iterator[np.ndarray]:
    """The row numbers of each step from `first_step` on; the order of an epoch depends only on
    seed, purpose and epoch."""
    per_epoch = recipe.steps_per_epoch(rows)
    for epoch in range(first_step // per_epoch, recipe.epochs):
        order = seeding.generator(seed, "batches", purpose, str(epoch)).permutation(rows)
        start = first_step - epoch * per_epoch if epoch == first_step // per_epoch else 0
        for step in range(start, per_epoch):
            yield order[step * recipe.batch_size : (step + 1) * recipe.batch_size]


class Optimizer:
    """AdamW on the trainable weights of a model, over `steps` steps of a recipe.

    divided: whether processes divide the weights.

    Gradients are read once for their norm and once by AdamW, which divides them.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, divided: bool = False) -> None:
        self.recipe, self.steps, self.done, self.divided = recipe, steps, 0, divided
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.adam = torch.optim.AdamW(
            self.parameters,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def step(self, divisor: float = 1.0) -> None:
        """Update with the summed gradients divided by `divisor`, then clipped."""
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.learning_rate * self.recipe.scale(self.done, self.steps)
        # `torch.amp.GradScaler` hands its scale to fused optimizers in this way
        vars(self.adam)["grad_scale"] = self._divisor(divisor)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for parameter in self.parameters:
            # fused AdamW does not, and copies of the weights are made again by their versions
            torch.autograd.graph.increment_version(parameter)
        self.done += 1

    @torch.no_grad()
    def _divisor(self, divisor: float) -> Tensor:
        """The divisor with clipping: divisor / min(1, most / (|g| / divisor)), on the device."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        whole = torch.tensor(divisor, dtype=torch.float32, device=self.parameters[0].device)
        if self.recipe.max_grad_norm is None or not gradients:
            return whole
        norm = self._norm(gradients) / whole
        # 1e-6 as in `torch.nn.utils.clip_grad_norm_`
        return whole / (self.recipe.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        if self.divided:
            from sympo.distributed import global_norm

            return global_norm(self.parameters)
        return nn.utils.get_total_norm(gradients)

    def discard(self) -> None:
        """Drop the gradients of an interrupted step."""
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.done = state["done"]
