"""Logistic losses that assume a noise rate."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import torch
import torch.nn.functional as F

from sympo import ranges
from sympo.losses.base import LossProperties, MarginLoss
from sympo.losses.convex import Logistic
from sympo.losses.symmetric import Sigmoid
from sympo.ranges import Positive
from sympo.types import BadInput

_logistic = Logistic()
_sigmoid = Sigmoid()


@dataclass(frozen=True)
class CDPO(MarginLoss):
    """Conservative DPO: cross-entropy against labels smoothed by the assumed noise rate e.

    l(z) = (1 - e) log(1 + e^-z) + e log(1 + e^z) = log(1 + e^-z) + e z

    assumed_rate: e in [0, 0.5), always to be given; BadInput otherwise. At 0 this is the logistic
    loss.

    Its conditional minimiser is the logit of eta (1 - e) + (1 - eta) e, finite for every eta.

    Source: Mitchell 2023 (a note on DPO with noisy preferences).
    """

    identity: ClassVar[str] = "cdpo"

    assumed_rate: float | None = None

    def __post_init__(self) -> None:
        _checked(self.assumed_rate)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return _logistic(z) + _checked(self.assumed_rate) * z

    @property
    def properties(self) -> LossProperties:
        return _logistic.properties


@dataclass(frozen=True)
class RDPO(MarginLoss):
    """Robust DPO: unbiased for the clean logistic risk if the assumed noise rate e is right.

    l(z) = ((1 - e) log(1 + e^-z) - e log(1 + e^z)) / (1 - 2e) = log(1 + e^-z) - e z / (1 - 2e)

    assumed_rate: e in [0, 0.5), always to be given; BadInput otherwise. At 0 this is the logistic
    loss.

    Its conditional minimiser is the logit of (eta - e) / (1 - 2e), which is infinite for eta
    outside (e, 1 - e): not CPE unless e = 0.

    Source: Chowdhury et al. 2024 (rDPO).
    """

    identity: ClassVar[str] = "rdpo"

    assumed_rate: float | None = None

    def __post_init__(self) -> None:
        _checked(self.assumed_rate)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        rate = _checked(self.assumed_rate)
        return _logistic(z) - rate / (1 - 2 * rate) * z

    @property
    def properties(self) -> LossProperties:
        return LossProperties(
            symmetric=False,
            constant=None,
            convex=True,
            bounded=False,
            calibrated=True,
            cpe=self.assumed_rate == 0,
        )


@dataclass(frozen=True)
class Forward(MarginLoss):
    """Forward correction: the likelihood of the observed label under the assumed noise rate e.

    l(z) = -log((1 - e) s + e (1 - s)), s = sigmoid(z)

    assumed_rate: e in [0, 0.5), always to be given; BadInput otherwise. At 0 this is the logistic
    loss.

    l'(z) = s - w, w = (1 - e) s / ((1 - e) s + e (1 - s)) the posterior probability that the label
    is right: the gradient of RE-PO with one annotator of reliability 1 - e, which here stays as
    given, whereas RE-PO moves it towards the mean of w after every batch.

    Its conditional minimiser is that of rDPO, the logit of (eta - e) / (1 - 2e), which is infinite
    for eta outside (e, 1 - e): not CPE unless e = 0. Unlike rDPO it is bounded if e > 0.

    Source: Patrini et al. 2017 (forward correction); compare Cao et al. 2025 (RE-PO).
    """

    identity: ClassVar[str] = "forward"

    assumed_rate: float | None = None

    def __post_init__(self) -> None:
        _checked(self.assumed_rate)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        rate = _checked(self.assumed_rate)
        right = F.logsigmoid(z) + math.log1p(-rate)
        if rate == 0:
            return -right
        return -torch.logaddexp(right, F.logsigmoid(-z) + math.log(rate))

    @property
    def properties(self) -> LossProperties:
        assumes_noise = _checked(self.assumed_rate) > 0
        return LossProperties(
            symmetric=False,
            constant=None,
            convex=not assumes_noise,
            bounded=assumes_noise,
            calibrated=True,
            cpe=not assumes_noise,
        )


@dataclass(frozen=True)
class ROPO(MarginLoss):
    """A mix of the logistic and the sigmoid loss that mutes the gradient of very negative margins.

    The loss of ROPO only, without its filtering of pairs and its rejection sampling.

    l(z) = 4a / (1 + a)^2 log(1 + e^-z) + 4a^2 / (1 + a)^2 / (1 + e^z)

    alpha: a > 0, the weight of the sigmoid over that of the logistic; BadArgument otherwise.

    Convex for a <= 1 only, since l'' has the sign of 1 - a (1 - 2p) with p = sigmoid(z). CPE for
    every a: C is stationary if and only if eta = (p + a q) / (1 + 2 a q) with q = p (1 - p), and
    there d eta / dp = (1 + a (p^2 + (1 - p)^2)) / (1 + 2 a q)^2 > 0, from eta = 0 to eta = 1.

    Source: Liang et al. 2024 (ROPO); 14 is the value in the authors' code.
    """

    identity: ClassVar[str] = "ropo"

    alpha: Positive = 14.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        scale = 4 * self.alpha / (1 + self.alpha) ** 2
        return scale * (_logistic(z) + self.alpha * _sigmoid(z))

    @property
    def properties(self) -> LossProperties:
        return LossProperties(
            symmetric=False,
            constant=None,
            convex=self.alpha <= 1,
            bounded=False,
            calibrated=True,
            cpe=True,
        )


def _checked(rate: float | None) -> float:
    if rate is None:
        raise BadInput(
            "assumed_rate is not set: this loss needs the noise rate that it assumes, in [0, 0.5), "
            "e.g. assumed_rate=0.1 (assumed_rate='${noise}' gives it the true rate and marks the "
            "run as oracle)"
        )
    if not (isinstance(rate, Real) and 0 <= rate < 0.5):
        raise BadInput(f"assumed_rate={rate} is not allowed: it must lie in [0, 0.5)")
    return rate
