"""Convex losses that are not symmetric."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from sympo import ranges
from sympo.losses.base import LossProperties, MarginLoss
from sympo.ranges import Positive


class Logistic(MarginLoss):
    """The negative log-likelihood of a Bradley-Terry preference, the loss of DPO.

    l(z) = log(1 + e^-z)

    Source: Rafailov et al. 2023 (DPO).
    """

    identity: ClassVar[str] = "logistic"
    properties = LossProperties(
        symmetric=False, constant=None, convex=True, bounded=False, calibrated=True, cpe=True
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        # not softplus(-z): torch's drops the exponential above 20, an error of 2e-9 in float64
        return -F.logsigmoid(z)


class Hinge(MarginLoss):
    """The loss of support vector machines, and the calibration loss of SLiC-HF.

    l(z) = max(0, 1 - z); without the language-model term of SLiC-HF.

    Source: Zhao et al. 2023 (SLiC-HF).
    """

    identity: ClassVar[str] = "hinge"
    properties = LossProperties(
        symmetric=False, constant=None, convex=True, bounded=False, calibrated=True, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return (1 - z).clamp(min=0)


class Square(MarginLoss):
    """The squared distance of the margin from 1, like IPO but on the beta-scaled margin.

    l(z) = (1 - z)^2, whose conditional minimiser is z = 2 eta - 1

    Source: least squares; compare Azar et al. 2024 (IPO).
    """

    identity: ClassVar[str] = "square"
    properties = LossProperties(
        symmetric=False, constant=None, convex=True, bounded=False, calibrated=True, cpe=True
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return (1 - z).square()


@dataclass(frozen=True)
class IPO(MarginLoss):
    """The squared distance of the log-ratio difference per token from a target that beta sets.

    l(h) = (h - 1 / (2 beta))^2, h the difference of the length-averaged log-ratios, not scaled by
    beta; the conditional minimiser is h = (2 eta - 1) / (2 beta)

    beta: above 0, the weight of staying close to the reference; BadArgument otherwise.

    Source: Azar et al. 2024 (IPO), whose tau is beta; averaged over the tokens of an answer as
    in their results.
    """

    identity: ClassVar[str] = "ipo"
    average_log_ratio = True
    properties = LossProperties(
        symmetric=False, constant=None, convex=True, bounded=False, calibrated=True, cpe=True
    )

    beta: Positive = 0.1

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return (z - 1 / (2 * self.beta)).square()


class Exponential(MarginLoss):
    """The loss of AdaBoost, continued linearly below z = -20 with its value and slope there.

    l(z) = e^-z for z >= -20, and e^20 (1 - (z + 20)) below, so that no margin overflows; the
    continued loss stays convex and CPE.

    Source: Freund & Schapire 1997 (AdaBoost).
    """

    identity: ClassVar[str] = "exponential"
    properties = LossProperties(
        symmetric=False, constant=None, convex=True, bounded=False, calibrated=True, cpe=True
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        # a product of finite factors: a branch of torch.where that overflows makes NaN gradients
        # even unselected. The slope at -20 itself comes from the first factor.
        return torch.exp(-z.masked_fill(z < -20, -20)) * (1 + F.relu(-20 - z))
