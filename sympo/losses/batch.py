"""Losses that are not reduced by the mean."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from sympo import ranges
from sympo.losses.base import MarginLoss
from sympo.losses.convex import Logistic
from sympo.ranges import Positive

_logistic = Logistic()


@dataclass(frozen=True)
class DrDPO(MarginLoss):
    """Distributionally robust DPO: logistic losses, larger ones with smaller weights.

    l(z) = log(1 + e^-z), L = -b log mean_i exp(-l_i / b), w_i = exp(-l_i / b)

    temperature: b, finite and above 0; BadArgument otherwise. L falls from the mean towards the
    smallest loss as b falls from infinity to 0.

    exp(-l / b) = sigmoid(z)^(1/b), so minimising L maximises the mean of sigmoid(z)^(1/b): at b = 1
    it minimises the mean sigmoid loss. The declared properties are those of l.

    The mean is over all pairs of a step, however many passes it takes; the official code reduces
    each micro-batch separately, so its loss depends on the micro-batch size.

    Source: Wu et al. 2024 (Dr. DPO), whose beta' is b and is 1 by default.
    """

    identity: ClassVar[str] = "dr_dpo"
    properties = _logistic.properties

    temperature: Positive = 1.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return _logistic(z)

    def reduce(self, losses: torch.Tensor) -> torch.Tensor:
        total = torch.logsumexp(-losses / self.temperature, -1)
        return self.temperature * (math.log(losses.shape[-1]) - total)

    def log_weight(self, losses: torch.Tensor) -> torch.Tensor:
        return -losses.detach() / self.temperature
