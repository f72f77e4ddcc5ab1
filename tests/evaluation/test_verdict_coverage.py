"""Do the 95% intervals of verdicts cover a known truth in 93 to 97% of 2,000 experiments?

Prompts have one to three items, whose outcomes are correlated: each is where a normal variable
falls that shares half of its variance within the prompt, so that the rates of win and tie are
exact. Some verdicts are ties and some are invalid.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit, ndtri
from scipy.stats import norm

from sympo.evaluation.verdicts import (
    agreement,
    length_adjusted,
    paired_difference,
    position_bias,
    win_rate,
)

TRIALS = 2000
DRAWS = 1000  # ten times fewer than in use: more noise in the ends, nothing else
INVALID = 0.04

Found = dict[str, float]
Experiment = Callable[[np.random.Generator, np.ndarray, int], Found]
Known = tuple[Experiment, dict[str, float]]


def prompts(draw: np.random.Generator, n: int) -> np.ndarray:
    return np.repeat(np.arange(n), draw.integers(1, 4, n))


def latent(draw: np.random.Generator, cluster: np.ndarray) -> np.ndarray:
    """Standard normal, correlated by 1/2 within a cluster."""
    shared = draw.standard_normal(cluster.max() + 1)[cluster]
    return (shared + draw.standard_normal(len(cluster))) / np.sqrt(2)


def outcome(z: np.ndarray, win: object, tie: object) -> np.ndarray:
    """1 with probability `win`, 1/2 with `tie`, where z is standard normal."""
    win, tie = np.asarray(win), np.asarray(tie)
    return 0.5 * ((z < ndtri(win)) * 1.0 + (z < ndtri(win + tie)))


def some_invalid(draw: np.random.Generator, score: np.ndarray) -> np.ndarray:
    return np.where(draw.random(len(score)) < INVALID, np.nan, score)


def check(known: Known, n: int, most: float = 0.97) -> None:
    """Each truth must lie within its interval in 93 to 97% of the experiments with n prompts."""
    experiment, truth = known
    inside = dict.fromkeys(truth, 0)
    for seed in range(TRIALS):
        draw = np.random.default_rng(seed)
        found = experiment(draw, prompts(draw, n), seed)
        for name, value in truth.items():
            inside[name] += found[f"{name}_low"] <= value <= found[f"{name}_high"]
    shares = {name: count / TRIALS for name, count in inside.items()}
    assert all(0.93 <= share <= most for share in shares.values()), shares


def win(rate: float, tie: float) -> Known:
    def experiment(draw, cluster, seed):
        score = outcome(latent(draw, cluster), rate - tie / 2, tie)
        return win_rate(some_invalid(draw, score), cluster, seed, DRAWS)

    return experiment, {"win_rate": rate}


def position(lean: float, threshold: float) -> Known:
    """Both orders of every item: the first shown wins where lean +- quality is above the threshold,
    and ties where it is no further from 0 than that."""

    def experiment(draw, cluster, seed):
        quality = latent(draw, cluster)
        strength = np.concatenate([lean + quality, lean - quality])
        choice = 0.5 * ((strength > threshold) * 1.0 + (strength > -threshold))
        both = np.concatenate([cluster, cluster])
        return position_bias(some_invalid(draw, choice), both, seed, DRAWS)

    truth = (norm.cdf(lean - threshold) + norm.cdf(lean + threshold)) / 2
    return experiment, {"first_shown_wins": float(truth)}


def paired(a: float, b: float, tie: float) -> Known:
    def experiment(draw, cluster, seed):
        shared, own = latent(draw, cluster), [latent(draw, cluster) for _ in range(2)]
        mixed = [(shared + each) / np.sqrt(2) for each in own]
        scores = [
            some_invalid(draw, outcome(z, rate - tie / 2, tie))
            for z, rate in zip(mixed, (a, b), strict=True)
        ]
        return paired_difference(*scores, cluster, seed, DRAWS)

    return experiment, {"difference": a - b}


def judges(win: float, tie: float, same: float) -> Known:
    """The second judge repeats the first with probability `same`, and else draws its own verdict
    from the same rates, which is what kappa = `same` means."""
    shares = np.array([win, tie, 1 - win - tie])
    chance = float(np.square(shares).sum())

    def experiment(draw, cluster, seed):
        a = outcome(latent(draw, cluster), win, tie)
        own = outcome(draw.standard_normal(len(a)), win, tie)
        b = np.where(draw.random(len(a)) < same, a, own)
        return agreement(some_invalid(draw, a), some_invalid(draw, b), cluster, seed, DRAWS)

    return experiment, {"agreement": same + (1 - same) * chance, "kappa": same}


def controlled(theta: float, phi: float, tie: float) -> Known:
    """Longer answers win more: E[score] = sigmoid(theta + phi tanh(d)), d normal with mean 0.7, so
    the policy's are longer and the plain win rate is not sigmoid(theta)."""

    def experiment(draw, cluster, seed):
        d = 0.7 + latent(draw, cluster)
        p = expit(theta + phi * np.tanh(d))
        ties = tie * np.minimum(p, 1 - p)
        score = outcome(latent(draw, cluster), p - ties / 2, ties)
        return length_adjusted(some_invalid(draw, score), 100 * d + 500, 500 + 0 * d, cluster)

    return experiment, {"length_adjusted_win_rate": float(expit(theta))}


def test_win_rates_cover() -> None:
    check(win(0.7, 0.2), 200)


def test_paired_differences_cover() -> None:
    check(paired(0.75, 0.65, 0.2), 200)


def test_agreement_and_kappa_cover() -> None:
    check(judges(0.5, 0.15, 0.6), 200)


def test_length_adjusted_win_rates_cover() -> None:
    check(controlled(0.4, 1.2, 0.3), 200)


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 500])
@pytest.mark.parametrize(
    "known",
    [
        win(0.5, 0.3), win(0.9, 0.1), win(0.95, 0.02), position(0.4, 0.2), position(1.3, 0.05),
        paired(0.9, 0.85, 0.1), paired(0.6, 0.6, 0.3), judges(0.45, 0.1, 0.9),
        judges(0.8, 0.05, 0.3), judges(0.4, 0.3, 0.0), controlled(-1.0, 2.0, 0.0),
        controlled(2.0, -1.0, 0.1),
    ],
)  # fmt: skip
def test_intervals_cover_elsewhere(known: Known, n: int) -> None:
    check(known, n)


@pytest.mark.slow
@pytest.mark.parametrize("known", [win(0.95, 0.0), judges(0.45, 0.1, 0.85)])
def test_intervals_cover_near_the_end_of_the_range(known: Known) -> None:
    """50 prompts, often without any loss or disagreement, where percentiles cover about 90% and
    the bound for unanimous verdicts is on the safe side."""
    check(known, 50, most=0.98)
