"""Bounded losses that are not symmetric, to separate the effects of boundedness and symmetry."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F

from sympo import ranges
from sympo.losses.base import LossProperties, MarginLoss
from sympo.ranges import Range

Smoothing = Annotated[float, Range(above=0, below=0.5)]


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


@dataclass(frozen=True)
class EXO(MarginLoss):
    """EXO for pairs: the reverse KL divergence from the smoothed label to the model's preference.

    l(z) = s log(s / (1 - e)) + (1 - s) log((1 - s) / e), s = sigmoid(z)

    label_smoothing: e in (0, 0.5); BadArgument otherwise.

    The loss is 0 at z = logit(1 - e) and rises again above it. The conditional minimiser is
    z = (2 eta - 1) logit(1 - e).

    Source: Ji et al. 2024 (EXO), equation 16; 0.001 is TRL's value.
    """

    identity: ClassVar[str] = "exo"
    properties = LossProperties(
        symmetric=False, constant=None, convex=False, bounded=True, calibrated=True, cpe=True
    )

    label_smoothing: Smoothing = 0.001

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        right = F.logsigmoid(z) - math.log1p(-self.label_smoothing)
        wrong = F.logsigmoid(-z) - math.log(self.label_smoothing)
        return torch.sigmoid(z) * right + torch.sigmoid(-z) * wrong
