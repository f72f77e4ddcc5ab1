"""Bounded losses that are not symmetric, to separate the effects of boundedness and symmetry."""

from typing import ClassVar

import torch

from sympo.losses.base import LossProperties, MarginLoss


class TruncatedHinge(MarginLoss):
    """The hinge cut off at 1: bounded but not symmetric; the authors' code calls it `ramp`.

    l(z) = clip(1 - z, 0, 1)

    Source: Collobert et al. 2006 (their s = 0).
    """

    identity: ClassVar[str] = "truncated_hinge"
    properties = LossProperties(
        symmetric=False, constant=None, convex=False, bounded=True, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return (1 - z).clamp(0, 1)


class Savage(MarginLoss):
    """The squared error of the predicted probability: bounded and CPE.

    l(z) = 1 / (1 + e^z)^2; the source writes e^(2v), so its margin is v = z / 2, which makes the
    link here the logistic one: the conditional minimiser is z = log(eta / (1 - eta)).

    Source: Masnadi-Shirazi & Vasconcelos 2008.
    """

    identity: ClassVar[str] = "savage"
    properties = LossProperties(
        symmetric=False, constant=None, convex=False, bounded=True, calibrated=True, cpe=True
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(-z).square()
