"""Symmetric losses: l(z) + l(-z) = K, so that label noise below 1/2 does not move the minimiser.

Under symmetric noise eps their risk is (1 - 2 eps) R + eps K. None is CPE: the conditional risk
(2 eta - 1) l(z) + (1 - eta) K is minimised at a z that depends only on the sign of 2 eta - 1.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sympo import ranges
from sympo.losses.base import LossProperties, MarginLoss
from sympo.ranges import Positive


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


@dataclass(frozen=True)
class TemperedSigmoid(MarginLoss):
    """The sigmoid loss with a temperature: a steeper step if it is below 1.

    l(z) = 1 / (1 + e^(z / t)), K = 1

    temperature: t, finite and above 0; BadArgument otherwise. At 1 this is `Sigmoid`; as t falls to
    0, it tends to the 0-1 loss.

    Source: the sigmoid loss of Charoenphakdee et al. 2019, of the margin z / t.
    """

    identity: ClassVar[str] = "tempered_sigmoid"
    properties = Sigmoid.properties

    temperature: Positive = 1.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(-z / self.temperature)


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


class Sine(MarginLoss):
    """A wave: symmetric, but not classification-calibrated, to show what calibration buys.

    l(z) = (1 - sin z) / 2, K = 1

    C(z) = (2 eta - 1) l(z) + 1 - eta has its minimum wherever sin z is the sign of 2 eta - 1, at
    margins of both signs: for eta > 1/2 at pi/2, but at -3 pi/2, too. So label noise moves no
    minimiser, and yet a minimiser can rank every pair wrongly.

    Source: none; a counterexample.
    """

    identity: ClassVar[str] = "sine"
    properties = LossProperties(
        symmetric=True, constant=1.0, convex=False, bounded=True, calibrated=False, cpe=False
    )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return (1 - torch.sin(z)) / 2
