import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from sympo import seeding
from sympo.noise import Asymmetric, InstanceDependent, SecondJudge, Symmetric, flip
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, PreferencePairs, chosen_over_rejected

MODELS = [Symmetric(), Asymmetric(0.5), Asymmetric(-1), InstanceDependent()]
every_model = pytest.mark.parametrize("model", MODELS, ids=str)
seeds = st.integers(0, 2**32)
noises = st.floats(0, 0.499)


def make_pairs(n: int, seed: int = 0, label: float | None = None) -> PreferencePairs:
    rng = np.random.default_rng(seed)
    return PreferencePairs(
        ids=rng.integers(0, 2**63, n).astype(np.uint64),
        first=np.arange(n),
        second=np.arange(n) + n,
        label=rng.choice([-1.0, 1.0], n) if label is None else np.full(n, label),
        gap=rng.normal(scale=3, size=n),
    )


def pairs_with_gap(gap: np.ndarray) -> PreferencePairs:
    index = np.arange(len(gap))
    return PreferencePairs(index.astype(np.uint64), index, index, np.ones(len(gap)), gap)


def select(pairs: PreferencePairs, rows: np.ndarray) -> PreferencePairs:
    assert pairs.gap is not None
    return PreferencePairs(
        pairs.ids[rows], pairs.first[rows], pairs.second[rows], pairs.label[rows], pairs.gap[rows]
    )


def without_gap(pairs: PreferencePairs) -> PreferencePairs:
    return PreferencePairs(pairs.ids, pairs.first, pairs.second, pairs.label)


@every_model
@given(seed=seeds, low=noises, high=noises)
@settings(max_examples=30, deadline=None)
def test_flips_at_a_low_rate_are_among_those_at_a_higher_one(
    model: NoiseModel, seed: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    pairs = make_pairs(200, seed)
    assert not np.any(
        flip(model, low, pairs, seed).flipped & ~flip(model, high, pairs, seed).flipped
    )


@pytest.mark.parametrize("model", [Symmetric(), Asymmetric(0.5)], ids=str)
@given(seed=seeds, noise=noises, data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_reordered_subset_keeps_its_flips(
    model: NoiseModel, seed: int, noise: float, data: st.DataObject
) -> None:
    pairs = make_pairs(50, seed)
    rows = np.array(data.draw(st.lists(st.integers(0, 49), unique=True)), dtype=int)
    whole, subset = flip(model, noise, pairs, seed), flip(model, noise, select(pairs, rows), seed)
    assert np.array_equal(whole.flipped[rows], subset.flipped)


def test_instance_dependent_flips_do_not_depend_on_the_order() -> None:
    pairs = make_pairs(500)
    rows = np.random.default_rng(1).permutation(500)
    whole = flip(InstanceDependent(), 0.3, pairs, 0)
    assert np.array_equal(
        whole.flipped[rows], flip(InstanceDependent(), 0.3, select(pairs, rows), 0).flipped
    )


@every_model
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_share_of_flips(model: NoiseModel, noise: float, seed: int) -> None:
    n = 20_000
    share = flip(model, noise, make_pairs(n), seed).flipped.mean()
    assert abs(share - noise) <= 4 * np.sqrt(noise * (1 - noise) / n)


def test_noisy_label_is_the_label_negated_where_flipped() -> None:
    noisy = flip(Symmetric(), 0.3, make_pairs(100), seed=0)
    assert np.array_equal(noisy.noisy_label != noisy.pairs.label, noisy.flipped)
    assert set(np.abs(noisy.noisy_label)) == {1.0}


@pytest.mark.parametrize("label", [1.0, None])
def test_asymmetric_rates_follow_the_presented_label(label: float | None) -> None:
    n, seed = 40_000, 3
    pairs = make_pairs(n, label=label)
    swapped = seeding.uniform(seed, "presentation", pairs.ids) < 0.5
    presented = np.where(swapped, -pairs.label, pairs.label)
    flipped = flip(Asymmetric(0.5), 0.2, pairs, seed).flipped
    assert abs((presented == 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    for side, rate in ((1, 0.3), (-1, 0.1)):
        share = flipped[presented == side].mean()
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / (n / 2))


def test_asymmetric_without_a_side_is_symmetric() -> None:
    pairs = make_pairs(1000)
    assert np.array_equal(
        flip(Asymmetric(0), 0.3, pairs, 0).flipped, flip(Symmetric(), 0.3, pairs, 0).flipped
    )


@pytest.mark.parametrize("label", [1.0, None])
@pytest.mark.parametrize(
    "loss", [lambda z: expit(-z), lambda z: np.logaddexp(0, -z)], ids=["sigmoid", "logistic"]
)
def test_lemma_1_asymmetric_noise_has_the_risk_of_symmetric_noise(loss, label) -> None:
    n, noise, k = 100_000, 0.3, 0.5
    pairs = make_pairs(n, label=label)
    reward = np.random.default_rng(1).normal(size=2 * n)
    score = reward[pairs.first] - reward[pairs.second]

    def losses(model: NoiseModel) -> np.ndarray:
        return loss(flip(model, noise, pairs, seed=0).noisy_label * score)

    def expected_losses(model: NoiseModel) -> np.ndarray:
        rate = model.rates(noise, pairs, seed=0)
        return (1 - rate) * loss(pairs.label * score) + rate * loss(-pairs.label * score)

    for each in (losses, expected_losses):
        difference = each(Asymmetric(k)) - each(Symmetric())
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(n)
        assert difference.std() > 0.01  # pair by pair the two differ: equal in the mean alone


def test_lemma_1_needs_the_order_to_be_drawn() -> None:
    """With one order for all, chosen first, the rate would be (1 + k) noise on every pair."""
    share = flip(Asymmetric(0.5), 0.2, make_pairs(40_000, label=1.0), seed=0).flipped.mean()
    assert abs(share - 0.2) < 0.01


@given(
    noise=st.floats(1e-6, 0.499),
    gap=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50),
    sign=st.sampled_from([-1, 1]),
)
@settings(deadline=None)
def test_instance_dependent_rates(noise: float, gap: list[float], sign: int) -> None:
    pairs = pairs_with_gap(sign * np.array(gap))
    rates = InstanceDependent().rates(noise, pairs, seed=0)
    assert abs(rates.mean() - noise) < 1e-9
    assert np.all((rates >= 0) & (rates <= 0.5))
    assert np.all(np.diff(rates[np.argsort(gap)]) <= 0)


def test_instance_dependent_rates_are_those_of_one_temperature() -> None:
    gap = np.array([0.5, -1.0, 2.0, 4.0])
    noise = expit(-np.abs(gap) / 1.7).mean()
    pairs = pairs_with_gap(gap)
    rates = InstanceDependent().rates(noise, pairs, seed=0)
    np.testing.assert_allclose(rates, expit(-np.abs(gap) / 1.7), rtol=1e-9)


def test_ties_flip_half_of_the_time_down_to_the_least_rate_that_they_allow() -> None:
    pairs = pairs_with_gap(np.array([0.0, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(
        InstanceDependent().rates(0.125, pairs, seed=0), [0.5, 0, 0, 0], atol=1e-12
    )
    assert not InstanceDependent().rates(0, pairs, seed=0).any()
    with pytest.raises(BadInput, match=r"noise=0\.1 is not reachable.*25\.0%.*at least 0\.125"):
        InstanceDependent().rates(0.1, pairs, seed=0)


@every_model
def test_no_pairs(model: NoiseModel) -> None:
    assert flip(model, 0.3, make_pairs(0), seed=0).flipped.shape == (0,)


@every_model
@pytest.mark.parametrize("noise", [0.7, 0.5, -0.1, np.nan, "much", None])
def test_bad_noise(model: NoiseModel, noise: float) -> None:
    sentence = rf"noise={noise} is not allowed: it must lie in \[0, 0\.5\)"
    with pytest.raises(BadInput, match=sentence):
        flip(model, noise, make_pairs(3), seed=0)
    with pytest.raises(BadInput, match=sentence):
        model.rates(noise, make_pairs(3), seed=0)


@pytest.mark.parametrize("k", [1.5, -1.01, np.nan])
def test_bad_k(k: float) -> None:
    with pytest.raises(BadInput, match=r"^k=.* is not allowed"):
        Asymmetric(k)


def test_instance_dependent_needs_a_gap() -> None:
    with pytest.raises(BadInput, match="noise_model=instance_dependent needs the true reward"):
        flip(InstanceDependent(), 0.1, without_gap(make_pairs(3)), seed=0)


def test_scores_take_the_place_of_a_reward_that_no_one_knows() -> None:
    true, scores = make_pairs(50, seed=1), make_pairs(50, seed=2).gap
    scored = dataclasses.replace(without_gap(true), score_gap=scores)
    both = dataclasses.replace(true, score_gap=scores)
    by_score, by_both = (InstanceDependent().rates(0.2, pairs, 0) for pairs in (scored, both))
    swapped = dataclasses.replace(true, gap=scores)
    np.testing.assert_array_equal(by_score, InstanceDependent().rates(0.2, swapped, 0))
    np.testing.assert_array_equal(by_both, InstanceDependent().rates(0.2, true, 0))


def test_second_judge_flips_the_disputed_pairs() -> None:
    disputed = np.arange(1000) % 10 == 3  # a tenth
    pairs = chosen_over_rejected(np.arange(1000, dtype=np.uint64), disputed=disputed)
    model = SecondJudge()
    assert (flip(model, 0.1, pairs, 0).flipped == disputed).all()
    assert not flip(model, 0.0, pairs, 0).flipped.any()
    # half of the disputed pairs, and no other
    assert model.rates(0.05, pairs, 0).mean() == pytest.approx(0.05)
    assert not model.rates(0.05, pairs, 0)[~disputed].any()
    # a split of the same data may hold a little less, but not half
    assert (flip(model, 0.12, pairs, 0).flipped == disputed).all()
    with pytest.raises(BadInput, match=r"disagrees on 10\.0% of the pairs, so it must be at most"):
        model.rates(0.2, pairs, 0)
    with pytest.raises(BadInput, match="needs a second annotator"):
        model.rates(0.1, chosen_over_rejected(np.arange(3, dtype=np.uint64)), 0)
