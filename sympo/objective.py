"""The training objective of a pair: a loss of its margin z. The only place that computes z."""

from dataclasses import dataclass

import torch
from torch import Size, Tensor

from sympo.protocols.models import Loss, Margin


@dataclass(frozen=True)
class Objective:
    """A loss of the margin between the rewards of two items.

    z = y (r_1 - r_2) - target, where r are the rewards that `margin` defines, and L = reduce(l(z)).

    Raises ValueError, which names the loss, if the loss returns an unexpected shape.
    """

    margin: Margin
    loss: Loss

    def z(self, first: Tensor, second: Tensor, label: Tensor | None = None) -> Tensor:
        """The margin z of each pair, in the shape of the rewards.

        first, second: (..., n), rewards of the two items. label: y, broadcast to that shape; None
        if the first item is always the chosen one.
        """
        gap = self.margin.clipped(first) - self.margin.clipped(second)
        return (gap if label is None else label * gap) - self.margin.target

    def z_of_scores(
        self, scores: Tensor, reference: Tensor | None, lengths: Tensor, label: Tensor
    ) -> Tensor:
        """The margin z of each pair, (n,), from the scores of both responses.

        scores, reference, lengths: (n, 2), one column per response; label: (n,).
        """
        rewards = self.margin.rewards(scores, reference, lengths)
        return self.z(rewards[:, 0], rewards[:, 1], label)

    def losses(self, z: Tensor) -> Tensor:
        """The loss of each margin; (..., n) -> (..., n)."""
        return self._shaped("return a loss for each margin", self.loss(z), z.shape)

    def slopes(self, z: Tensor) -> Tensor:
        """|l'(z)| of each margin, by which a pair pulls on its two rewards; (..., n) -> (..., n).

        The weights that some losses give the pairs of a batch are left out.
        """
        with torch.enable_grad():
            margin = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.losses(margin).sum(), margin)
        return slope.abs()

    def reduced(self, losses: Tensor) -> Tensor:
        """The reduced loss of each batch; (..., n) -> (...)."""
        rule = "reduce the last dimension of its losses"
        return self._shaped(rule, self.loss.reduce(losses), losses.shape[:-1])

    def log_weights(self, losses: Tensor) -> Tensor:
        """The logarithm of each pair's weight in the gradient; (n,) -> (n,)."""
        rule = "return a log-weight for each loss"
        return self._shaped(rule, self.loss.log_weight(losses), losses.shape)

    def _shaped(self, rule: str, found: Tensor, shape: Size) -> Tensor:
        if not isinstance(found, Tensor) or found.shape != shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{self.loss} must {rule}, shape {tuple(shape)}; it returned {got}")
        return found
