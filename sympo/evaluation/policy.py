"""What a policy makes of preference pairs and of prompts, in numbers."""

import numpy as np

from sympo import seeding
from sympo.evaluation.rewards import agreement, clustered_error, gaps
from sympo.types import PreferencePairs

RESAMPLES = 2000


def implicit_metrics(
    rewards: np.ndarray, pairs: PreferencePairs, cluster: np.ndarray
) -> dict[str, float]:
    """How often implicit rewards prefer the chosen answer, with its standard error over prompts,
    how often neither, and the mean of r(chosen) - r(rejected).

    rewards: (2n,) implicit reward of every answer. cluster: (n,) of integers from 0 on, the prompt
    of each pair.
    """
    gap = gaps(rewards, pairs)
    scores = agreement(gap, pairs.label)
    return {
        "implicit_accuracy": float(scores.mean()),
        "implicit_accuracy_se": clustered_error(scores, cluster),
        "tie_rate": float((gap == 0).mean()),
        "margin_mean": float((gap * pairs.label).mean()),
    }


def wins(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where the policy's answer has the higher gold reward, 0 where the other has, 1/2 on ties.

    own, other: (n,) gold rewards of two answers to the same prompts.
    """
    return agreement(own - other, np.ones(len(own)))


def mean_metrics(name: str, values: np.ndarray, seed: int) -> dict[str, float]:
    """The mean of one value per prompt, its standard error and its 95% bootstrap interval."""
    draw = seeding.generator(seed, "bootstrap", name)
    n = len(values)
    means = np.array([values[draw.integers(n, size=n)].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        name: float(values.mean()),
        f"{name}_se": float(means.std(ddof=1)),
        f"{name}_low": float(low),
        f"{name}_high": float(high),
    }
