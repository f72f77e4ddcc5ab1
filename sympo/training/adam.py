"""Adam on stacked cells: importing `torch.optim` takes longer than training a small cell."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam with PyTorch's defaults, elementwise, so that stacked cells do not affect each other.

    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
    p = p - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)

    The same numbers as `torch.optim.Adam`, whose construction imports torch's compiler.
    Source: Kingma and Ba (2015).
    """

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float) -> None:
        self.parameters, self.learning_rate, self.steps = list(parameters), learning_rate, 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        # tensors, because a recorded step repeats its numbers but reads its tensors again
        self._root, self._rate = (self.parameters[0].new_empty(()).detach() for _ in range(2))

    def step(self, loss: Tensor) -> None:
        """One update down the gradient of a scalar loss."""
        self.advance()
        self.update(loss)

    def advance(self) -> None:
        """Count a step, and set its two bias corrections, of which `update` is a function."""
        self.steps += 1
        self._root.fill_((1 - BETA2**self.steps) ** 0.5)
        self._rate.fill_(-self.learning_rate / (1 - BETA1**self.steps))

    @torch.no_grad()
    def update(self, loss: Tensor) -> None:
        """The update of the step that `advance` counted."""
        gradients = torch.autograd.grad(loss, self.parameters)
        torch._foreach_lerp_(self.mean, gradients, 1 - BETA1)
        torch._foreach_mul_(self.square, BETA2)
        torch._foreach_addcmul_(self.square, gradients, gradients, 1 - BETA2)
        scale = torch._foreach_sqrt(self.square)
        torch._foreach_div_(scale, self._root)
        torch._foreach_add_(scale, EPSILON)
        change = torch._foreach_mul(self.mean, self._rate)
        torch._foreach_div_(change, scale)
        torch._foreach_add_(self.parameters, change)

    def mean_norms(self) -> Tensor:
        """The norm of each cell's mean gradient m / (1 - b1^t), over about the last ten steps;
        (C,)."""
        squares = [m.flatten(1).double().square().sum(1) for m in self.mean]
        return torch.stack(squares).sum(0).sqrt() / (1 - BETA1 ** max(1, self.steps))

    def states(self) -> list[dict[str, Any]]:
        """The moments of each cell, and the number of steps."""
        # a GPU waits once for each tensor, not for each cell
        moments = {
            name: [moment.cpu() for moment in getattr(self, name)] for name in ("mean", "square")
        }
        return [
            {
                "steps": self.steps,
                **{name: [one[cell].clone() for one in found] for name, found in moments.items()},
            }
            for cell in range(len(self.parameters[0]))
        ]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from the state of each cell; all took equally many steps."""
        self.steps = states[0]["steps"]
        for name in ("mean", "square"):
            for number, moment in enumerate(getattr(self, name)):
                moment.copy_(torch.stack([state[name][number] for state in states]))
