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

    def of_margins(
        self, z: Tensor, opposite: Tensor | None, probability: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """The expected loss of each pair whose label is right with probability p; (..., n).

        p l(z) + (1 - p) l(z'), which is l(z) at p = 1, bit by bit.

        opposite: z', the margin towards the opposite label, -z if the margin has no target.
        probability: p; None for 1. weight: of each pair in `reduced`.
        """
        if weight is not None:
            # the margin of a pair without weight may overflow a loss, and 0 times infinity is NaN
            z = torch.where(weight > 0, z, 0.0)
        if opposite is None or probability is None:
            return self.losses(z)
        if weight is not None:
            opposite = torch.where(weight > 0, opposite, 0.0)
        right = self.losses(torch.where(probability > 0, z, opposite))
        wrong = self.losses(torch.where(probability < 1, opposite, z))
        return probability * right + (1 - probability) * wrong

    def reduced(self, losses: Tensor, weight: Tensor | None = None) -> Tensor:
        """The reduced loss of each batch; (..., n) -> (...).

        weight: (..., n), of each pair. A batch is then reduced to sum_i w_i v_i l_i / sum_i w_i v_i
        with the loss's own weights v_i, which are 1 for a loss reduced by the mean; 0 for a batch
        without weight.
        """
        if weight is not None:
            rows = losses.detach().reshape(-1, losses.shape[-1])
            logs = torch.stack([self.log_weights(row) for row in rows]).view_as(losses)
            logs = among_weighted(logs, weight)
            own = weight * torch.exp(logs - logs.amax(-1, keepdim=True))
            total = own.sum(-1).clamp_min(torch.finfo(losses.dtype).tiny)
            return (own * losses).sum(-1) / total
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


def among_weighted(log_weights: Tensor, weight: Tensor) -> Tensor:
    """Log-weights, the least number for pairs without weight, whose own would scale the others."""
    return log_weights.masked_fill(weight <= 0, torch.finfo(log_weights.dtype).min)
