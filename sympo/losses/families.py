"""Families of losses that a setting moves between symmetric and not."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F

from sympo import ranges
from sympo.losses.base import LossProperties, MarginLoss
from sympo.ranges import Positive, Range

Exponent = Annotated[float, Range(above=0, most=1)]
Finite = Annotated[float, Range()]


@dataclass(frozen=True)
class GCE(MarginLoss):
    """Generalised cross-entropy: from the logistic loss (q -> 0) to the sigmoid loss (q = 1).

    l(z) = (1 - s^q) / q, s = sigmoid(z)

    q: in (0, 1]; BadArgument otherwise.

    C is stationary only at z = log(eta / (1 - eta)) / (1 - q): CPE for q < 1. Symmetric, with
    K = 1, if and only if q = 1.

    Source: Zhang & Sabuncu 2018, whose q is 0.7.
    """

    identity: ClassVar[str] = "gce"

    q: Exponent = 0.7

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        # of the logarithm: s^q has an infinite slope where s rounds to 0
        return -torch.expm1(self.q * F.logsigmoid(z)) / self.q

    @property
    def properties(self) -> LossProperties:
        symmetric = self.q == 1
        return LossProperties(
            symmetric=symmetric,
            constant=1.0 if symmetric else None,
            convex=False,
            bounded=True,
            calibrated=True,
            cpe=not symmetric,
        )


@dataclass(frozen=True)
class HolderDPO(MarginLoss):
    """Hölder-DPO: the gradient vanishes for very negative margins, the sooner the larger gamma is.

    l(z) = -(1 + g) s^g + g s^(1 + g), l'(z) = -g (1 + g) s^g (1 - s)^2, s = sigmoid(z)

    The loss only, without the estimate of the noise rate and the removal of pairs.

    gamma: g, finite and above 0; BadArgument otherwise.

    At g = 1 this is `Savage` minus 1. At g = 2 it is -(3 s^2 - 2 s^3), and l(z) + l(-z) = -1: a
    symmetric loss. For other g, C is stationary only at z = log(eta / (1 - eta)) / (2 - g): for
    g < 2 its minimum, so the loss is CPE; for g > 2 its maximum, and C is least at infinity.

    Source: Fujisawa et al. 2025 (Hölder-DPO), whose gamma is 2.
    """

    identity: ClassVar[str] = "holder_dpo"

    gamma: Positive = 2.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        log_s = F.logsigmoid(z)
        gamma = self.gamma
        return gamma * torch.exp((1 + gamma) * log_s) - (1 + gamma) * torch.exp(gamma * log_s)

    @property
    def properties(self) -> LossProperties:
        symmetric = self.gamma == 2
        return LossProperties(
            symmetric=symmetric,
            constant=-1.0 if symmetric else None,
            convex=False,
            bounded=True,
            calibrated=True,
            cpe=self.gamma < 2,
        )


@dataclass(frozen=True)
class SlopedRamp(MarginLoss):
    """A straight step from 1 to 0 of any steepness, around any margin.

    l(z) = clip((1 - m (z - a)) / 2, 0, 1)

    slope: m, finite and above 0. offset: a, finite, where the loss is 1/2. BadArgument otherwise.

    m = 1, a = 0 is `Ramp`; m = 2, a = 1/2 is `TruncatedHinge`. Symmetric, with K = 1, if and only
    if a = 0. Calibrated if and only if m a > -1: otherwise l(0) = 0, the least risk for every eta.

    Source: Collobert et al. 2006, whose ramp loss R_s, divided by its height, has
    m = 2 / (1 - s) and a = (1 + s) / 2.
    """

    identity: ClassVar[str] = "sloped_ramp"

    slope: Positive = 1.0
    offset: Finite = 0.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return ((1 - self.slope * (z - self.offset)) / 2).clamp(0, 1)

    @property
    def properties(self) -> LossProperties:
        symmetric = self.offset == 0
        return LossProperties(
            symmetric=symmetric,
            constant=1.0 if symmetric else None,
            convex=False,
            bounded=True,
            calibrated=self.slope * self.offset > -1,
            cpe=False,
        )
