"""Losses whose batches are not reduced by the mean."""

import math
from dataclasses import dataclass

import torch

from sympo import ranges
from sympo.losses.base import MarginLoss
from sympo.losses.convex import Logistic
from sympo.ranges import Positive

_logistic = Logistic()


@dataclass(frozen=True)
class DrDPO(MarginLoss):
    """Distributionally robust DPO: logistic losses, the larger the less they count.

    l(z) = log(1 + e^-z), L = -b log mean_i exp(-l_i / b), w_i = exp(-l_i / b)

    temperature: b, finite and above 0; BadInput otherwise. L falls from the mean towards the least
    loss as b falls from infinity to 0.

    exp(-l / b) = sigmoid(z)^(1/b), so L is least where the mean of sigmoid(z)^(1/b) is greatest: at
    b = 1 exactly where the mean sigmoid loss is least. The declared properties are those of l.

    The mean is over all pairs of a step, however many passes it takes; the official code reduces
    each micro-batch by itself, which is another loss for every micro-batch size.

    Source: Wu et al. 2024 (Dr. DPO), whose beta' is b and is 1 by default.
    """

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
