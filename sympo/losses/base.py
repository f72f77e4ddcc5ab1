"""What a margin loss is and what it says about itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LossProperties:
    """Facts about a loss l, proved on paper and checked numerically by the tests.

    With eta = P(y = +1), the conditional risk is C(z) = eta l(z) + (1 - eta) l(-z).

    symmetric: l(z) + l(-z) is the same K for all z.
    constant: that K; None where the loss is not symmetric.
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
    """A pure elementwise function of the margin z = y g; unreduced."""

    @abstractmethod
    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """The loss of each margin; same shape and dtype as z."""

    @property
    @abstractmethod
    def properties(self) -> LossProperties:
        """What is true of this loss at its parameters."""
