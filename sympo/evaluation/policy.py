"""What a policy makes of preference pairs and of prompts, in numbers."""

import numpy as np

from sympo import seeding
from sympo.evaluation.rewards import agreement, gaps, standard_error
from sympo.types import PreferencePairs

RESAMPLES = 2000


def implicit_metrics(rewards: np.ndarray, pairs: PreferencePairs) -> dict[str, float]:
    """How often implicit rewards prefer the chosen answer, with its standard error over pairs, and
    the mean of r(chosen) - r(rejected).

    rewards: (2n,) implicit reward of every answer.
    """
    gap = gaps(rewards, pairs) * pairs.label
    scores = agreement(gap, np.ones(len(gap)))
    return {
        "implicit_accuracy": float(scores.mean()),
        "implicit_accuracy_se": standard_error(scores, pairs),
        "margin_mean": float(gap.mean()),
    }


def win_metrics(name: str, own: np.ndarray, other: np.ndarray, seed: int) -> dict[str, float]:
    """The share of prompts on which the policy's answer has the higher gold reward, ties half.

    own, other: (n,) gold rewards of two answers to the same prompts. Returns `<name>`, its standard
    error and the 95% percentile bootstrap interval, prompts being the sample.
    """
    scores = agreement(own - other, np.ones(len(own)))
    return mean_metrics(name, scores, seed)


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
