import numpy as np
import pytest
import torch
from scipy import stats

from sympo.evaluation.rank_metrics import RankMetrics


def ranked(
    rewards: np.ndarray, truth: np.ndarray, levels: np.ndarray | None = None
) -> dict[str, float | None]:
    (found,) = RankMetrics(truth, levels)(torch.from_numpy(np.asarray(rewards, float)[None]))
    return found


@pytest.mark.parametrize("places", [None, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize(("n", "levels"), [(2, 2), (40, 3), (1000, 10), (300, None)])
def test_correlations_are_scipys_bit_by_bit(n: int, levels: int | None, places: int | None) -> None:
    rng = np.random.default_rng(n)
    truth = rng.normal(size=n) if levels is None else rng.permutation(np.arange(n) % levels)
    rewards = truth + rng.normal(size=(7, n)).astype(np.float32)
    if places is not None:
        rewards = rewards.round(places)
    for one, found in zip(rewards, RankMetrics(truth)(torch.from_numpy(rewards)), strict=True):
        assert found["spearman"] == float(stats.spearmanr(one, truth).statistic)
        assert found["kendall"] == float(stats.kendalltau(one, truth).statistic)
        for level in np.unique(truth):
            assert found[f"reward_mean/{level}"] == one[truth == level].mean()


def test_correlations_with_a_constant_are_none() -> None:
    truth = np.repeat([0, 1, 2], 5)
    found = ranked(truth**3.0, truth)
    assert found["spearman"] == pytest.approx(1) and found["kendall"] == pytest.approx(1)
    assert found["reward_mean/2"] == pytest.approx(8)
    constant = ranked(np.ones(15), truth)
    assert constant["spearman"] is None and constant["reward_mean/0"] == 1
    assert ranked(truth, np.ones(15))["kendall"] is None
    assert ranked(np.ones(1), np.ones(1)) == {
        "spearman": None,
        "kendall": None,
        "reward_mean/1.0": 1,
    }


def test_real_valued_rewards_have_levels() -> None:
    truth = np.array([-1.5, -0.25, 0.5, 2.0])
    found = ranked(truth**3, truth, np.array([-1.0, -1.0, 1.0, 1.0]))
    assert found["spearman"] == pytest.approx(1)
    assert found["reward_mean/-1.0"] == pytest.approx((-(1.5**3) - 0.25**3) / 2)
    assert ranked(truth, truth)["reward_mean/-0.25"] == -0.25
