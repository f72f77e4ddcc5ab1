"""Implicit accuracy, win rates and their intervals."""

import numpy as np
import pytest

from sympo.evaluation.policy_metrics import (
    displacement_metrics,
    implicit_metrics,
    mean_metrics,
    wins,
)
from sympo.types import chosen_over_rejected


def test_implicit_metrics_by_hand() -> None:
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64))
    # gaps 1, -2, 0, 3: two right, one tie
    rewards = np.array([1.0, 0.0, 0.0, 2.0, 5.0, 5.0, 3.0, 0.0])
    found = implicit_metrics(rewards, pairs, np.arange(4))
    assert found["implicit_accuracy"] == pytest.approx(2.5 / 4)
    assert found["tie_rate"] == 0.25
    assert found["margin_mean"] == pytest.approx(0.5)
    scores = np.array([1, 0, 0.5, 1])
    assert found["implicit_accuracy_se"] == pytest.approx(scores.std() / 2)


def test_correlation_with_the_true_reward_inside_prompts_by_hand() -> None:
    gap = np.array([1.0, 2.0, 0.0, -1.0])  # of the last pair the worse response is chosen
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64), gap)
    # learned gaps 1, -2, 0, 3: concordant, discordant, of a pair that ties, discordant
    rewards = np.array([1.0, 0.0, 0.0, 2.0, 5.0, 5.0, 3.0, 0.0])
    found = implicit_metrics(rewards, pairs, np.arange(4))
    assert found["kendall_in_prompt"] == pytest.approx(-1 / 3)
    assert found["labeller_kendall"] == 1
    followed = np.array([1.0, -1.0, 1.0, -1.0])  # the labels follow a reward with one pair reversed
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64), gap, followed)
    assert implicit_metrics(rewards, pairs, np.arange(4))["labeller_kendall"] == pytest.approx(
        1 / 3
    )
    assert found["gap_slope"] == pytest.approx((1 - 4 - 3) / 6)


def test_pairs_of_one_prompt_are_one_sample_of_implicit_accuracy() -> None:
    pairs = chosen_over_rejected(np.arange(8, dtype=np.uint64))
    rewards = np.array([1.0, 0.0, 0.0, 1.0] * 4)  # right, wrong, right, wrong, ...
    prompt = np.array([0, 1, 0, 1, 0, 1, 0, 1])  # all right on prompt 0, all wrong on prompt 1
    found = implicit_metrics(rewards, pairs, prompt)
    assert found["implicit_accuracy_se"] == pytest.approx(np.sqrt(2 * 2.0**2) / 8)


def test_wins_count_ties_half() -> None:
    won = wins(np.array([1.0, 0.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0, 1.0]))
    assert won.tolist() == [1, 0, 0.5, 1]
    found = mean_metrics("win", won, 0)
    assert found["win"] == pytest.approx(2.5 / 4)
    assert found["win_low"] <= found["win"] <= found["win_high"]


def test_bootstrap_interval_covers() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        scores = (draw.random(200) < 0.7).astype(float)
        found = mean_metrics("m", scores, seed)
        covered += found["m_low"] <= 0.7 <= found["m_high"]
        assert found["m_se"] == pytest.approx(scores.std() / np.sqrt(200), rel=0.1)
    assert 0.91 <= covered / 300 <= 0.98


def test_bootstrap_repeats() -> None:
    values = np.random.default_rng(0).standard_normal(50)
    assert mean_metrics("m", values, 3) == mean_metrics("m", values, 3)


def test_chosen_and_rejected_can_fall_together() -> None:
    logps = np.array([[-10.0, -12.0], [-20.0, -30.0]], np.float32)
    rewards = np.array([-1.0, -2.0, -0.5, -3.5])  # chosen and rejected in turn
    assert displacement_metrics(rewards, logps) == {
        "logp_chosen": -15,
        "logp_rejected": -21,
        "reward_chosen": -0.75,
        "reward_rejected": -2.75,
    }
