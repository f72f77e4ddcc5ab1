"""The base class of margin losses and the properties that they declare."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class LossProperties:
    """Properties of a loss l, proved on paper and checked numerically by the tests.

    With eta = P(y = +1), the conditional risk is C(z) = eta l(z) + (1 - eta) l(-z).

    symmetric: l(z) + l(-z) is the same K for all z.
    constant: that K; None if the loss is not symmetric.
    convex: l is convex in z.
    bounded: l is bounded above and below.
    calibrated: classification-calibrated; for every eta != 1/2 the infimum of C over wrong-signed
        z, (2 eta - 1) z <= 0, lies strictly above its overall infimum (Bartlett et al. 2006).
    cpe: class-probability estimating; for every eta in (0, 1) the minimiser of C is one finite z,
        strictly increasing in eta, so that eta can be read off it (Reid & Williamson 2010).
    """

    symmetric: bool
    constant: float | None
    convex: bool
    bounded: bool
    calibrated: bool
    cpe: bool


class MarginLoss(ABC):
    """A pure elementwise function of the margin z = y g, and the reduction of its values.

    identity: a stable name, by which `sympo.losses.by_name` finds the class.
    average_log_ratio: z must be a difference of log-ratios per token, which only the `ipo` margin
        gives.
    """

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    average_log_ratio: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """The loss of each margin; same shape and dtype as z."""

    @property
    @abstractmethod
    def properties(self) -> LossProperties:
        """The properties of l at its parameters."""

    def reduce(self, losses: torch.Tensor) -> torch.Tensor:
        """The number that each batch of losses (..., n) is trained on, (...); by default the mean.

        Its gradient is sum_i w_i grad l_i / sum_i w_i with w_i = exp(log_weight_i), so that a batch
        split over steps or processes is trained on exactly by adding up both sums and dividing.
        """
        return losses.mean(-1)

    def log_weight(self, losses: torch.Tensor) -> torch.Tensor:
        """The logarithm of each pair's weight in the gradient of `reduce`, without gradient.

        losses: (n,), as this loss returns them. Returns (n,); zeros if `reduce` is the mean.
        """
        return torch.zeros_like(losses)
