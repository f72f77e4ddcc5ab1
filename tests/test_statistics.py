import numpy as np
import pytest
from scipy import stats

from sympo.statistics import bca, bca_mean, cluster_totals, resample


def mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def test_totals_of_clusters_by_hand() -> None:
    columns = np.array([[1.0, 1], [0, 1], [0.5, 1]])
    assert cluster_totals(columns, np.array([7, 2, 7])).tolist() == [[0, 1], [1.5, 2]]


@pytest.mark.parametrize("prompts", [40, 2000])
def test_resampling_is_a_plain_cluster_bootstrap(prompts: int) -> None:
    """Same quantiles, to Monte-Carlo error, of a ratio of totals; 40 prompts are drawn one by one
    and 2000 as counts of their distinct contents."""
    draw, draws = np.random.default_rng(0), 10_000
    score, size = draw.integers(0, 5, prompts) / 2, draw.integers(2, 4, prompts)
    totals = np.column_stack([score, size]).astype(float)
    assert (20 * len(np.unique(totals, axis=0)) < prompts) == (prompts == 2000)
    ours = resample(totals, draw, draws)
    plain = np.array([totals[draw.integers(0, prompts, prompts)].sum(axis=0) for _ in range(draws)])
    spread = plain.std(axis=0)
    assert ours.mean(axis=0) == pytest.approx(
        prompts * totals.mean(axis=0), abs=4 * spread.min() / 100
    )
    levels = [0.025, 0.16, 0.5, 0.84, 0.975]
    a, b = (np.quantile(t[:, 0] / t[:, 1], levels) for t in (ours, plain))
    # the standard error of a quantile in standard deviations, sqrt(p (1 - p) / draws) / density,
    # is at most 0.027 here; two of them, four standard errors
    ratio_spread = (plain[:, 0] / plain[:, 1]).std()
    assert np.abs(a - b).max() < 4 * np.sqrt(2) * 0.027 * ratio_spread
    correlations = [np.corrcoef(t.T)[0, 1] for t in (ours, plain)]
    assert correlations[0] == pytest.approx(correlations[1], abs=4 * np.sqrt(2) / 100)
    assert ours.std(axis=0) == pytest.approx(spread, rel=0.04)


def test_intervals_are_those_of_scipys_bca() -> None:
    """Of a skewed mean over 60 clusters, where BCa differs from percentiles."""
    draw = np.random.default_rng(1)
    values = draw.choice([1, 0.5, 0], 60, p=[0.85, 0.05, 0.1])
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=10_000, rng=draw)
    ours = bca_mean(values, np.arange(60), np.random.default_rng(0), (0, 1))
    ends = list(theirs.confidence_interval)
    assert [ours.low, ours.high] == pytest.approx(ends, abs=0.1 * theirs.standard_error)
    assert ours.value == pytest.approx(values.mean())
    assert list(ours.named("x")) == ["x", "x_se", "x_low", "x_high"]


def test_clusters_that_agree_still_leave_doubt() -> None:
    """Twenty ones out of twenty: the exact binomial bound 0.025^(1/20) = 0.832, not [1, 1]."""
    found = bca_mean(np.ones(20), np.arange(20), np.random.default_rng(0), (0, 1))
    assert (found.value, found.se, found.high) == (1, 0, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 20))


def test_no_clusters_are_nan() -> None:
    (found,) = bca([(mean, (0, 1))], np.zeros((0, 2)), np.random.default_rng(0))
    assert np.isnan([found.value, found.se, found.low, found.high]).all()


def test_the_mean_of_unequal_clusters_draws_clusters() -> None:
    draw = np.random.default_rng(2)
    clusters = draw.integers(0, 100, 300)
    values = (clusters % 2).astype(float)  # items of a cluster agree: only clusters vary
    found = bca_mean(values, clusters, np.random.default_rng(0), (0, 1))
    totals = cluster_totals(np.column_stack([values, np.ones(300)]), clusters)
    (same,) = bca([(mean, (0, 1))], totals, np.random.default_rng(0))
    assert found == same
    assert found.se > 1.5 * values.std() / np.sqrt(300)
