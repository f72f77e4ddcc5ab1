import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from sympo import seeding
from sympo.noise import (
    AnnotatorDependent,
    Asymmetric,
    InstanceDependent,
    LengthDependent,
    SecondJudge,
    SourceDependent,
    Symmetric,
    flip,
)
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, PreferencePairs, chosen_over_rejected

BY_GAP = Asymmetric(-1, presentation="by_gap")
MODELS = [
    *(Symmetric(), Asymmetric(0.5), Asymmetric(-1), BY_GAP, InstanceDependent()),
    *(LengthDependent(), LengthDependent(1), SourceDependent()),
    *(AnnotatorDependent(), AnnotatorDependent(None)),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=str)
seeds = st.integers(0, 2**32)
noises = st.floats(0, 0.499)


def make_pairs(n: int, seed: int = 0, label: float | None = None) -> PreferencePairs:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 2**63, n).astype(np.uint64)
    labels = rng.choice([-1.0, 1.0], n) if label is None else np.full(n, label)
    return PreferencePairs(
        ids=ids,
        first=np.arange(n),
        second=np.arange(n) + n,
        label=labels,
        gap=rng.normal(scale=3, size=n),
        # half of the preferred items are the shorter ones, so that every rate can be reached
        length_gap=labels * rng.integers(1, 6, n) * (-1) ** np.arange(n),
        source=rng.integers(4, size=n).astype(np.uint64),
        annotator=rng.integers(10, 20, n).astype(np.uint64),
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


@every_model
@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_the_mean_rate_over_all_cases_is_the_noise_rate(model: NoiseModel, noise: float) -> None:
    cases = model.cases(noise, make_pairs(3000), seed=0)
    np.testing.assert_allclose(sum(case.probability for case in cases), 1, atol=1e-12)
    assert all(((case.rates >= 0) & (case.rates <= 1)).all() for case in cases)
    mean = np.mean(sum(case.probability * case.rates for case in cases))
    assert mean == pytest.approx(noise, abs=1e-9)


@every_model
def test_rates_are_drawn_from_the_cases(model: NoiseModel) -> None:
    pairs, seed = make_pairs(3000), 0
    rates, cases = model.rates(0.3, pairs, seed), model.cases(0.3, pairs, seed)
    distance = np.min([np.abs(case.rates - rates) for case in cases], axis=0)
    assert distance.max() < 1e-12
    expected = sum(case.probability * case.rates for case in cases)
    spread = np.std(rates - expected)
    assert abs(np.mean(rates - expected)) <= 4 * spread / np.sqrt(len(pairs)) + 1e-12


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


def test_presented_labels_of_the_control_follow_the_gap() -> None:
    n, seed = 20_000, 2
    pairs = make_pairs(n)
    assert pairs.gap is not None
    rates = BY_GAP.rates(0.2, pairs, seed)
    # k = -1: a presented label of +1 never flips, one of -1 at 0.4
    assert set(rates) == {0.0, 0.4}
    order = np.argsort(np.abs(pairs.gap))
    for part, share in zip(np.array_split(order, 4), (7 / 8, 5 / 8, 3 / 8, 1 / 8), strict=True):
        assert abs((rates[part] == 0).mean() - share) < 0.03
    # stored as chosen and rejected, the same pairs have the same rates
    stored = dataclasses.replace(pairs, label=np.ones(n), gap=pairs.gap * pairs.label)
    np.testing.assert_array_equal(BY_GAP.rates(0.2, stored, seed), rates)


def test_the_control_needs_gaps_and_a_known_presentation() -> None:
    with pytest.raises(BadInput, match=r"^noise_model\.presentation=by_gap needs the true reward"):
        BY_GAP.rates(0.2, without_gap(make_pairs(3)), 0)
    with pytest.raises(BadInput, match="presentation=fixed is not known: use one of random, "):
        Asymmetric(presentation="fixed")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("k", "noise", "rates"),
    [(-2 / 3, 0.3, (0.1, 0.5)), (-1, 0.2, (0.0, 0.4)), (-1 / 3, 0.3, (0.2, 0.4))],
)
def test_k_gives_the_pairs_of_rates(k: float, noise: float, rates: tuple[float, float]) -> None:
    positive, negative = Asymmetric(k).cases(noise, make_pairs(5), 0)
    np.testing.assert_allclose(positive.rates, rates[0], atol=1e-15)
    np.testing.assert_allclose(negative.rates, rates[1], atol=1e-15)


def lengths(gap: list[int], label: list[float]) -> PreferencePairs:
    index = np.arange(len(gap))
    return PreferencePairs(
        index.astype(np.uint64), index, index, np.array(label), length_gap=np.array(gap)
    )


def test_pairs_whose_preferred_response_is_shorter_flip_more() -> None:
    # longer, shorter, shorter (the second item is preferred), equal
    pairs = lengths([3, -2, 5, 0], [1.0, 1.0, -1.0, 1.0])
    # mean of s is 1/4: g / 2 = 0.2 / (1 + 0.5 / 4)
    rates = LengthDependent().rates(0.2, pairs, 0)
    np.testing.assert_allclose(rates, 0.2 / 1.125 * np.array([0.5, 1.5, 1.5, 1.0]))
    np.testing.assert_allclose(LengthDependent(0).rates(0.2, pairs, 0), 0.2)
    longest_wins = LengthDependent(1).rates(0.2, pairs, 0)
    np.testing.assert_allclose(longest_wins, 0.16 * np.array([0, 2, 2, 1]))


def test_length_alone_flips_only_so_many() -> None:
    pairs = lengths([3, 3, 3, -2], [1.0] * 4)
    np.testing.assert_allclose(LengthDependent(1).rates(0.25, pairs, 0), [0, 0, 0, 1])
    with pytest.raises(BadInput, match=r"noise=0\.3 is not reachable.*so it must be at most 0\.25"):
        LengthDependent(1).rates(0.3, pairs, 0)
    only_longer = lengths([3, 3], [1.0] * 2)
    assert not LengthDependent(1).rates(0, only_longer, 0).any()
    with pytest.raises(BadInput, match="needs two responses with a length"):
        LengthDependent().rates(0.1, without_gap(make_pairs(3)), 0)
    with pytest.raises(BadInput, match=r"^bias=1\.5 is not allowed: it must lie in \[0, 1\]"):
        LengthDependent(1.5)


def rate_of_each(rates: np.ndarray, groups: np.ndarray) -> dict[int, float]:
    """The rate of each group, which is the same for all its pairs."""
    found = {int(one): set(rates[groups == one]) for one in np.unique(groups)}
    assert all(len(own) == 1 for own in found.values())
    return {one: own.pop() for one, own in found.items()}


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_sources_and_named_annotators_have_rates_of_their_own(noise: float) -> None:
    pairs = make_pairs(2000)
    for model, groups in (
        (SourceDependent(), pairs.source),
        (AnnotatorDependent(None), pairs.annotator),
    ):
        assert groups is not None
        of_each = rate_of_each(model.rates(noise, pairs, 0), groups)
        assert len(set(of_each.values())) == len(of_each) and max(of_each.values()) < 0.5
        # the same order of the groups at every rate, another one at another seed
        at_low, other = (
            rate_of_each(model.rates(*asked), groups)
            for asked in ((noise / 2, pairs, 0), (noise, pairs, 1))
        )
        assert sorted(of_each, key=of_each.__getitem__) == sorted(at_low, key=at_low.__getitem__)
        assert other != of_each


def test_ability_sets_the_odds_of_a_mistake() -> None:
    """rate = sigmoid(-ability / s): the log-odds of groups have the ratios of their abilities."""
    pairs = make_pairs(2000)
    assert pairs.source is not None
    of_each = rate_of_each(SourceDependent().rates(0.3, pairs, 5), pairs.source)
    keys = np.array(list(of_each), dtype=np.uint64)
    ability = -np.log(1 - seeding.uniform(5, "source quality", keys))
    rates = np.array(list(of_each.values()))
    log_odds = np.log(rates / (1 - rates))
    np.testing.assert_allclose(log_odds / log_odds[0], ability / ability[0], rtol=1e-9)


def test_random_annotators_see_alike_pairs() -> None:
    pairs, seed = make_pairs(20_000), 4
    rates = AnnotatorDependent(5).rates(0.3, pairs, seed)
    found, counts = np.unique(rates, return_counts=True)
    assert len(found) == 5 and found.mean() == pytest.approx(0.3, abs=1e-9)
    assert np.abs(counts / len(pairs) - 1 / 5).max() < 0.02
    # train and validation pairs meet the same annotators
    few = AnnotatorDependent(5).rates(0.3, select(pairs, np.arange(100)), seed)
    np.testing.assert_array_equal(few, rates[:100])


@pytest.mark.parametrize("column", ["source", "annotator"])
def test_groups_must_be_known_and_differ(column: str) -> None:
    model = SourceDependent() if column == "source" else AnnotatorDependent(None)
    with pytest.raises(BadInput, match=f"needs the {column} of each pair"):
        model.rates(0.1, without_gap(make_pairs(3)), 0)
    same = dataclasses.replace(make_pairs(3), **{column: np.ones(3, np.uint64)})
    with pytest.raises(BadInput, match=f"needs at least two {column}s, and"):
        model.rates(0.1, same, 0)


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
