"""How a model's score of an answer becomes a reward.

`sympo.objective` makes the margin of a pair from two rewards, z = y (r_1 - r_2) - target.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sympo import ranges
from sympo.ranges import NotNegative, Positive

__all__ = ["DPO", "AverageLogRatio", "BaseMargin", "Reward", "SimPO"]


class BaseMargin(ABC):
    """How scores of answers, log-probabilities for a policy, become rewards.

    reference_free: `rewards` ignores the reference policy.
    average_log_ratio: rewards are plain log-ratios per token, which the loss of IPO needs.
    target: subtracted from y g, so that a pair has to be right by this much.
    clip: the bound that `clipped` keeps rewards within, or None.
    """

    outside_identity: ClassVar[frozenset[str]] = frozenset()

    reference_free: ClassVar[bool] = False
    average_log_ratio: ClassVar[bool] = False
    clip: float | None = None

    @property
    def target(self) -> float:
        return 0.0

    @abstractmethod
    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        """The implicit reward of each answer; of the shape and dtype of logps.

        All have one shape, (..., n, 2) for the answers of n pairs.

        logps, reference: log pi(a|x) and log pi_ref(a|x), each summed over the tokens of the
            answer; a reference-free margin ignores the reference.
        lengths: the number of these tokens, at least 1.
        """

    def clipped(self, rewards: Tensor) -> Tensor:
        """Rewards as training sees them, within [-clip, clip]; evaluation does not clip, so that
        answers beyond the bound do not tie."""
        return rewards if self.clip is None else rewards.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class Reward(BaseMargin):
    """The score of a reward model is the reward.

    r = r(x, a)
    """

    identity: ClassVar[str] = "reward"

    reference_free: ClassVar[bool] = True

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return logps


@dataclass(frozen=True)
class DPO(BaseMargin):
    """The reward whose optimal policy, regularised towards the reference, is the policy itself.

    r = beta (log pi(a|x) - log pi_ref(a|x))

    beta: finite and above 0; clip: a bound above 0 beyond which there is no gradient, or None;
    BadArgument otherwise.

    Source: Rafailov et al. 2023 (DPO); the authors' code clips to +-10, for its own losses only.
    """

    identity: ClassVar[str] = "dpo"

    beta: Positive = 0.1
    clip: Positive | None = None

    def __post_init__(self) -> None:
        ranges.check(self)

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return self.beta * _log_ratio(logps, reference)


@dataclass(frozen=True)
class AverageLogRatio(BaseMargin):
    """The log-ratio per token, not scaled; beta belongs to the loss of IPO.

    r = (log pi(a|x) - log pi_ref(a|x)) / length

    clip: a bound above 0, or None; BadArgument otherwise.

    Source: Azar et al. 2024 (IPO), averaged over the tokens of an answer as their results are.
    """

    identity: ClassVar[str] = "ipo"
    average_log_ratio: ClassVar[bool] = True

    clip: Positive | None = None

    def __post_init__(self) -> None:
        ranges.check(self)

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        return _log_ratio(logps, reference) / lengths


@dataclass(frozen=True)
class SimPO(BaseMargin):
    """The mean log-probability of an answer's tokens, without a reference.

    r = beta log pi(a|x) / length, and z = y g - gamma

    beta: finite and above 0; gamma: finite, at least 0, in units of the reward, as in the paper
    (its code takes the ratio gamma / beta, 0.25 by default, and TRL's `simpo_gamma` is gamma);
    clip: a bound above 0, or None; BadArgument otherwise.

    Source: Meng et al. 2024 (SimPO).
    """

    identity: ClassVar[str] = "simpo"
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
        raise ValueError("this margin compares the policy with a reference: none was given")
    return logps - reference
