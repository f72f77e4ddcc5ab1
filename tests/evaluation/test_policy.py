"""Implicit accuracy, win rates and their intervals."""

import numpy as np
import pytest

from sympo.evaluation.policy import implicit_metrics, mean_metrics, win_metrics
from sympo.types import chosen_over_rejected


def test_implicit_metrics_by_hand() -> None:
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64))
    # gaps 1, -2, 0, 3: two right, one tie
    rewards = np.array([1.0, 0.0, 0.0, 2.0, 5.0, 5.0, 3.0, 0.0])
    found = implicit_metrics(rewards, pairs)
    assert found["implicit_accuracy"] == pytest.approx(2.5 / 4)
    assert found["margin_mean"] == pytest.approx(0.5)
    scores = np.array([1, 0, 0.5, 1])
    assert found["implicit_accuracy_se"] == pytest.approx(scores.std() / 2)


def test_win_rate_counts_ties_half() -> None:
    found = win_metrics("win", np.array([1.0, 0.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0, 1.0]), 0)
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
