"""Metrics of a policy on preference pairs, and of its responses to prompts."""

import numpy as np
import numpy.typing as npt

from sympo.evaluation.rewards import agreement, clustered_error, gap_slope, gaps
from sympo.statistics import percentile_mean
from sympo.types import PreferencePairs

Floats = npt.NDArray[np.float64]


def implicit_metrics(
    rewards: Floats, pairs: PreferencePairs, cluster: npt.NDArray[np.int64]
) -> dict[str, float | None]:
    """How often implicit rewards prefer the chosen response, with its standard error over prompts;
    how often they tie; and the mean of r(chosen) - r(rejected). With known true rewards also
    Kendall's correlation with them inside prompts, of implicit rewards and of the reward that the
    labels follow, and the slope of the gaps.

    rewards: (2n,), the implicit reward of every response. cluster: (n,), the prompt of each pair as
    an integer, at least 0.
    """
    gap = gaps(rewards, pairs)
    scores = agreement(gap, pairs.label)
    found: dict[str, float | None] = {
        "implicit_accuracy": float(scores.mean()),
        "implicit_accuracy_se": clustered_error(scores, cluster),
        "tie_rate": float((gap == 0).mean()),
        "margin_mean": float((gap * pairs.label).mean()),
    }
    if pairs.gap is not None:
        found["kendall_in_prompt"] = _kendall(gap, pairs.gap)
        followed = pairs.gap if pairs.score_gap is None else pairs.score_gap
        found["labeller_kendall"] = _kendall(followed, pairs.gap)
        found["gap_slope"] = gap_slope(gap, pairs.gap)
    return found


def _kendall(gap: Floats, truth: Floats) -> float | None:
    """Concordant less discordant pairs of responses, as a share of those with different true
    rewards, None without any; ties of the other reward are neither."""
    compared = truth != 0
    agreed = np.sign(gap[compared]) * np.sign(truth[compared])
    return float(agreed.mean()) if len(agreed) else None


def displacement_metrics(rewards: Floats, logps: Floats) -> dict[str, float | None]:
    """The mean log-probability and the mean implicit reward of chosen and of rejected responses,
    each apart: both can fall while their difference grows.

    rewards: (2n,), chosen and rejected in turn. logps: (n, 2), log pi of chosen and rejected, in
    nats, summed over tokens. Source: likelihood displacement (Razin et al. 2025).
    """
    sides = ("chosen", "rejected")
    means = {"logp": logps.mean(0, np.float64), "reward": rewards.reshape(-1, 2).mean(0)}
    return {
        f"{what}_{side}": float(value)
        for what, values in means.items()
        for side, value in zip(sides, values, strict=True)
    }


def wins(own: Floats, other: Floats) -> Floats:
    """1 if the policy's response has the higher gold reward, 0 if the other has, 1/2 on ties; (n,).

    own, other: (n,), gold rewards of two responses to the same prompts.
    """
    return agreement(own - other, np.ones(len(own)))


def mean_metrics(name: str, values: Floats, seed: int) -> dict[str, float]:
    """The mean of one value per prompt, its standard error and its 95% bootstrap interval."""
    found = percentile_mean(values, seed, name)
    return {
        name: found.value,
        f"{name}_se": found.se,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
    }
