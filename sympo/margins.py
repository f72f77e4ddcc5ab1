"""What a model's score says about an answer as a reward; the difference of two is a pair's g.

The margin of a pair is z = y (r_first - r_second) - target, and every margin loss takes it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sympo import ranges
from sympo.ranges import NotNegative, Positive


class Margin(ABC):
    """How scores of answers, log-probabilities for a policy, become rewards.

    reference_free: `rewards` makes no use of a reference policy.
    average_log_ratio: rewards are log-ratios per token and nothing else, as the loss of IPO needs.
    target: what is subtracted from y g, so that a pair has to be right by this much.
    clip: None, or the bound that `clipped` keeps rewards within.
    """

    reference_free: ClassVar[bool] = False
    average_log_ratio: ClassVar[bool] = False
    clip: float | None = None

    @property
    def target(self) -> float:
        return 0.0

    @abstractmethod
    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        """The implicit reward of each answer; (n,), of the dtype of logps.

        logps, reference: (n,), log pi(a|x) and log pi_ref(a|x), each summed over the tokens of the
            answer; a reference-free margin ignores the reference.
        lengths: (n,), the number of these tokens, at least 1.
        """

    def clipped(self, rewards: Tensor) -> Tensor:
        """Rewards as training sees them, within [-clip, clip]; evaluation sees them whole, because
        two answers beyond the bound would tie."""
        return rewards if self.clip is None else rewards.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class Reward(Margin):
    """What a reward model says is the reward.

    r = r(x, a)
    """

    reference_free: ClassVar[bool] = True

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return logps


@dataclass(frozen=True)
class DPO(Margin):
    """The reward whose optimal policy, regularised towards the reference, is the policy itself.

    r = beta (log pi(a|x) - log pi_ref(a|x))

    beta: finite and above 0; clip: None, or a bound above 0 beyond which there is no gradient;
    BadInput otherwise.

    Source: Rafailov et al. 2023 (DPO); the authors' code clips to +-10, for its own losses only.
    """

    beta: Positive = 0.1
    clip: Positive | None = None

    def __post_init__(self) -> None:
        ranges.check(self)

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return self.beta * _log_ratio(logps, reference)


@dataclass(frozen=True)
class IPO(Margin):
    """The log-ratio per token, not scaled; beta belongs to the loss of IPO.

    r = (log pi(a|x) - log pi_ref(a|x)) / length

    clip: None, or a bound above 0; BadInput otherwise.

    Source: Azar et al. 2024 (IPO), averaged over the tokens of an answer as their results are.
    """

    average_log_ratio: ClassVar[bool] = True

    clip: Positive | None = None

    def __post_init__(self) -> None:
        ranges.check(self)

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return _log_ratio(logps, reference) / lengths


@dataclass(frozen=True)
class SimPO(Margin):
    """The mean log-probability of an answer's tokens, without a reference.

    r = beta log pi(a|x) / length, and z = y g - gamma

    beta: finite and above 0; gamma: finite, at least 0, in units of the reward, as in the paper
    (its code takes the ratio gamma / beta, 0.25 by default, and TRL's `simpo_gamma` is gamma);
    clip: None, or a bound above 0; BadInput otherwise.

    Source: Meng et al. 2024 (SimPO).
    """

    reference_free: ClassVar[bool] = True

    beta: Positive = 2.0
    gamma: NotNegative = 0.5
    clip: Positive | None = None

    def __post_init__(self) -> None:
        ranges.check(self)

    @property
    def target(self) -> float:
        return self.gamma

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return self.beta * logps / lengths


def _log_ratio(logps: Tensor, reference: Tensor | None) -> Tensor:
    if reference is None:
        raise ValueError("this margin compares the policy with a reference, and none was given")
    return logps - reference
