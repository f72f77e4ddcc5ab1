"""Symmetric losses: l(z) + l(-z) = K, so that label noise below 1/2 does not move the minimiser.

Under symmetric noise eps their risk is (1 - 2 eps) R + eps K. None is CPE: the conditional risk
(2 eta - 1) l(z) + (1 - eta) K is minimised at a z that depends only on the sign of 2 eta - 1.
"""

from typing import ClassVar

import torch

from sympo.losses.base import LossProperties, MarginLoss


class Sigmoid(MarginLoss):
    """A smooth step from 1 to 0.

    l(z) = 1 / (1 + e^z), K = 1

    Source: Ghosh et al. 2015; Charoenphakdee et al. 2019.
    """

    identity: ClassVar[str] = "sigmoid"
    properties = LossProperties(
        symmetric=True, constant=1.0, convex=False, bounded=True, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(-z)


class Ramp(MarginLoss):
    """A straight step from 1 at z = -1 to 0 at z = 1.

    l(z) = clip((1 - z) / 2, 0, 1), K = 1

    Source: Collobert et al. 2006 (their s = -1, halved); Charoenphakdee et al. 2019. The authors'
    code calls this one `symmetric_ramp`.
    """

    identity: ClassVar[str] = "ramp"
    properties = LossProperties(
        symmetric=True, constant=1.0, convex=False, bounded=True, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return ((1 - z) / 2).clamp(0, 1)


class Unhinged(MarginLoss):
    """The hinge without its hinge: convex and symmetric, at the price of no lower bound.

    l(z) = 1 - z, K = 2

    Source: van Rooyen et al. 2015.
    """

    identity: ClassVar[str] = "unhinged"
    properties = LossProperties(
        symmetric=True, constant=2.0, convex=True, bounded=False, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return 1 - z
