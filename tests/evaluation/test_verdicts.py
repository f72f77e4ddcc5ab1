"""Win rates, position bias, differences and agreement: values by hand, intervals at their edges."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from sympo.evaluation.verdicts import (
    agreement,
    items_needed,
    length_adjusted,
    paired_difference,
    position_bias,
    win_rate,
)
from sympo.types import BadInput

NAN = float("nan")
LC = "length_adjusted_win_rate"


def test_win_rate_by_hand() -> None:
    # valid: 1, 1, 0.5, 0; one of five is invalid
    found = win_rate([1, 0.5, NAN, 0, 1], ["a", "a", "b", "b", "c"], seed=0)
    assert found["win_rate"] == pytest.approx(2.5 / 4)
    assert found["tie_rate"] == pytest.approx(1 / 4)
    assert found["invalid_rate"] == pytest.approx(1 / 5)
    assert found["n"] == 4
    assert 0 <= found["win_rate_low"] <= found["win_rate"] <= found["win_rate_high"] <= 1


def test_standard_error_is_that_of_clusters() -> None:
    draw = np.random.default_rng(0)
    per_prompt = (draw.random(500) < 0.6).astype(float)
    found = win_rate(np.repeat(per_prompt, 4), np.repeat(np.arange(500), 4), seed=0)
    # four copies of a verdict say no more than one
    assert found["win_rate_se"] == pytest.approx(per_prompt.std() / np.sqrt(500), rel=0.03)
    assert found["n"] == 2000


def test_position_bias_by_hand() -> None:
    # the first wins twice, the second once, one tie, one invalid
    found = position_bias([1, 0, 1, 0.5, NAN], [0, 0, 1, 1, 2], seed=0)
    assert found["first_shown_wins"] == pytest.approx(2.5 / 4)
    assert set(found) == {f"first_shown_wins{end}" for end in ("", "_se", "_low", "_high")}


def test_paired_difference_by_hand() -> None:
    # valid for both: 1 - 0, 0.5 - 0.5, 1 - 0.5
    found = paired_difference([1, 0.5, NAN, 1, 0], [0, 0.5, 1, 0.5, NAN], np.arange(5), seed=0)
    assert found["difference"] == pytest.approx(0.5)
    assert found["n"] == 3


def test_pairing_removes_what_a_prompt_does_to_both() -> None:
    draw = np.random.default_rng(0)
    a = (draw.random(400) < 0.6).astype(float)
    b = np.where(draw.random(400) < 0.05, 1 - a, a)
    paired = paired_difference(a, b, np.arange(400), seed=0)
    assert paired["difference_se"] == pytest.approx((a - b).std() / 20, rel=0.03)
    assert paired["difference_se"] < win_rate(a, np.arange(400), seed=0)["win_rate_se"] / 2


def test_agreement_by_hand() -> None:
    # win-win 4, loss-loss 3, tie-tie 1, win-loss 1, tie-win 1: p_o = 8/10;
    # shares 5, 3, 2 and 5, 4, 1: p_e = (25 + 12 + 2) / 100, kappa = 0.41 / 0.61
    a = [1] * 4 + [0] * 3 + [0.5] + [1] + [0.5]
    b = [1] * 4 + [0] * 3 + [0.5] + [0] + [1]
    found = agreement([*a, NAN], [*b, 1], np.arange(11), seed=0)
    assert found["agreement"] == pytest.approx(0.8)
    assert found["kappa"] == pytest.approx(0.41 / 0.61)
    assert found["n"] == 10
    assert found["kappa_low"] < found["kappa"] < found["kappa_high"] <= 1


def test_kappa_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 3, (2, 300)) / 2
    b = np.where(draw.random(300) < 0.5, a, b)
    found = agreement(a, b, np.arange(300), seed=0)["kappa"]
    assert found == pytest.approx(cohen_kappa_score(2 * a, 2 * b))


def test_kappa_where_judges_never_change_their_mind() -> None:
    always = agreement([1] * 6, [1] * 6, np.arange(6), seed=0)
    assert always["agreement"] == 1
    assert all(np.isnan(always[f"kappa{end}"]) for end in ("", "_se", "_low", "_high"))
    # one always says win, the other always loss: they agree as often as chance would have it
    assert agreement([1] * 6, [0] * 6, np.arange(6), seed=0)["kappa"] == 0


def test_an_annotators_mean_is_a_win_above_one_half() -> None:
    found = agreement([2 / 3, 1 / 3, 0.5, 1], [1, 0, 0.5, 1 / 3], np.arange(4), seed=0)
    assert found["agreement"] == pytest.approx(3 / 4)


def test_unanimous_verdicts_still_leave_doubt() -> None:
    """Twenty wins out of twenty: the exact binomial bound 0.025^(1/20) = 0.832, not [1, 1]."""
    found = win_rate(np.ones(20), np.arange(20), seed=0)
    assert found["win_rate_low"] == pytest.approx(0.025 ** (1 / 20))
    assert found["win_rate_high"] == 1
    ties = win_rate(np.full(20, 0.5), np.arange(20), seed=0)
    half = (1 - 0.025 ** (1 / 20)) / 2
    assert (ties["win_rate_low"], ties["win_rate_high"]) == pytest.approx((0.5 - half, 0.5 + half))
    equal = paired_difference(np.ones(20), np.ones(20), np.arange(20), seed=0)
    assert equal["difference_low"] == pytest.approx(-2 * half)
    assert equal["difference_high"] == pytest.approx(2 * half)


def test_perfect_agreement_still_leaves_doubt() -> None:
    said = [1, 0] * 10
    found = agreement(said, said, np.arange(20), seed=0)
    low = 0.025 ** (1 / 20)
    assert (found["agreement"], found["kappa"]) == (1, 1)
    assert found["agreement_low"] == pytest.approx(low)
    assert found["kappa_low"] == pytest.approx(1 - (1 - low) / 0.5)
    assert found["kappa_high"] == 1


def test_one_prompt_says_next_to_nothing() -> None:
    found = win_rate([1, 0, 1, 1], ["only"] * 4, seed=0)
    assert found["win_rate"] == 0.75
    assert found["win_rate_low"] < 0.05 and found["win_rate_high"] > 0.95


def test_without_a_valid_verdict_all_is_nan_and_counted() -> None:
    found = win_rate([NAN, NAN], [0, 1], seed=0)
    assert found.pop("n") == 0 and found.pop("invalid_rate") == 1
    assert all(np.isnan(value) for value in found.values())
    assert all(np.isnan(value) for value in position_bias([], [], seed=0).values())
    nothing = agreement([NAN, 1], [1, NAN], [0, 1], seed=0)
    assert nothing.pop("n") == 0
    assert all(np.isnan(value) for value in nothing.values())
    assert all(np.isnan(value) for value in length_adjusted([NAN], [1], [2], [0]).values())


def test_intervals_repeat_and_know_neither_order_nor_kind_of_key() -> None:
    draw = np.random.default_rng(0)
    score, cluster = draw.integers(0, 3, 300) / 2, draw.integers(0, 100, 300)
    found = win_rate(score, cluster, seed=3)
    assert win_rate(score, cluster, seed=3) == found
    assert win_rate(score, cluster, seed=0) != found
    order = draw.permutation(300)
    assert win_rate(score[order], cluster[order], seed=3) == pytest.approx(found, abs=1e-12)
    keys = [("prompt", str(key)) for key in cluster]
    assert win_rate(score, keys, seed=3) == pytest.approx(found, abs=1e-12)


def test_swapping_policies_mirrors_the_interval() -> None:
    score = np.random.default_rng(0).choice([1, 0.5, 0], 300, p=[0.7, 0.1, 0.2])
    one, other = (win_rate(s, np.arange(300), seed=0) for s in (score, 1 - score))
    assert one["win_rate"] == pytest.approx(1 - other["win_rate"])
    assert one["win_rate_low"] == pytest.approx(1 - other["win_rate_high"], abs=0.003)


def test_intervals_are_those_of_scipys_bca() -> None:
    """Of a skewed mean and of kappa over 60 prompts, where BCa is not the percentiles."""
    draw = np.random.default_rng(1)
    a = draw.choice([1, 0.5, 0], 60, p=[0.85, 0.05, 0.1])
    b = np.where(draw.random(60) < 0.8, a, draw.choice([1, 0.5, 0], 60))
    asked = {"method": "BCa", "n_resamples": 10_000, "rng": draw}
    mean = stats.bootstrap((a,), np.mean, **asked)
    ours = win_rate(a, np.arange(60), seed=0)
    ends = [ours["win_rate_low"], ours["win_rate_high"]]
    assert ends == pytest.approx(list(mean.confidence_interval), abs=0.1 * mean.standard_error)

    def kappa(first: np.ndarray, second: np.ndarray) -> float:
        return cohen_kappa_score(2 * first, 2 * second)

    asked["n_resamples"] = 3000
    theirs = stats.bootstrap((a, b), kappa, paired=True, vectorized=False, **asked)
    found = agreement(a, b, np.arange(60), seed=0)
    ends = [found["kappa_low"], found["kappa_high"]]
    assert ends == pytest.approx(list(theirs.confidence_interval), abs=0.2 * theirs.standard_error)


def test_length_adjusted_by_hand() -> None:
    """Two lengths: the regression is saturated, log odds c + s at tanh(1/sd) = s and c - s."""
    # longer: 8 of 10 won, shorter: 4 of 10; the middle of the log odds of 0.8 and 0.4
    score = np.array([1] * 8 + [0] * 2 + [1] * 4 + [0] * 6, dtype=float)
    length = np.array([30] * 10 + [10] * 10)
    found = length_adjusted(score, length, np.full(20, 20), np.arange(20))
    odds = np.sqrt(4 * (2 / 3))
    assert found[LC] == pytest.approx(odds / (1 + odds))
    # var of the middle of two independent log odds, 1/(n p q) each, and for the two
    # coefficients that were fitted n / (n - 2)
    se = np.sqrt((1 / 1.6 + 1 / 2.4) / 4 * 20 / 18)
    logit = np.log(odds) + 1.959964 * se * np.array([-1, 1])
    ends = (found[f"{LC}_low"], found[f"{LC}_high"])
    assert ends == pytest.approx(tuple(1 / (1 + np.exp(-logit))), rel=1e-4)


def test_length_adjusted_takes_out_what_length_adds() -> None:
    draw = np.random.default_rng(0)
    length, other = draw.normal(300, 50, 4000), draw.normal(200, 50, 4000)
    p = 1 / (1 + np.exp(-2 * np.tanh((length - other) / 70)))  # nothing but length counts
    found = length_adjusted((draw.random(4000) < p) * 1.0, length, other, np.arange(4000))
    assert p.mean() > 0.75
    assert found[f"{LC}_low"] < 0.5 < found[f"{LC}_high"]
    mirrored = length_adjusted(1.0 - (draw.random(4000) < p), other, length, np.arange(4000))
    assert mirrored[LC] == pytest.approx(0.5, abs=0.08)


def test_length_adjusted_is_nan_if_every_difference_is_far_from_zero() -> None:
    # tanh(d / sd) is -1 throughout, so that nothing is known about equal lengths
    draw = np.random.default_rng(0)
    score = (draw.random(200) < 0.4) * 1.0
    found = length_adjusted(score, draw.integers(99, 102, 200), np.full(200, 150), np.arange(200))
    assert np.isnan(list(found.values())).all()


def test_length_adjusted_counts_ties_half() -> None:
    draw = np.random.default_rng(0)
    score, length = draw.integers(0, 3, 200) / 2, draw.integers(1, 50, 200)
    cluster, other = np.arange(200), np.full(200, 20)
    one = length_adjusted(score, length, other, cluster)
    # a tie is half a win and half a loss: every verdict twice, a tie once as each, one prompt each
    twice = np.concatenate([np.ceil(score), np.floor(score)])
    two = length_adjusted(twice, np.tile(length, 2), np.tile(other, 2), np.tile(cluster, 2))
    assert two == pytest.approx(one, rel=0.002)  # sd(d) is over 400 instead of 200 items


def test_equal_lengths_give_the_plain_win_rate() -> None:
    score, cluster = [1, 0.5, 0, 1, NAN], np.arange(5)
    found = length_adjusted(score, np.full(5, 9), np.full(5, 7), cluster)
    assert found[LC] == pytest.approx(2.5 / 4)
    assert found[f"{LC}_low"] < found[LC] < found[f"{LC}_high"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("score", "length"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4]),  # all wins
        ([0, 0, 0, 0], [1, 2, 3, 4]),  # all losses
        ([1], [3]),  # one item
        ([0, 0, 1, 1], [1, 2, 3, 4]),  # the longer one always wins
        ([0, 0.5, 0.5, 1], [1, 2, 2, 4]),  # the same, and ties in between
        ([1, 1, 0.5, 0], [1, 2, 3, 4]),  # the shorter one always wins
    ],
)
def test_length_adjusted_is_nan_where_no_fit_is_finite(score: list, length: list) -> None:
    found = length_adjusted(score, length, [0] * len(score), range(len(score)))
    assert all(np.isnan(value) for value in found.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("score", "length", "cluster"),
    [
        ([1, 0, 1, 0], [1, 2, 3, 4], ["only"] * 4),  # one prompt
        ([0.5] * 4, [1, 2, 3, 4], [1, 2, 3, 4]),  # all ties
        ([0.5], [1], [1]),  # one tie
        ([2 / 3, 1 / 3], [2, 1], [1, 2]),  # as many coefficients as items
    ],
)
def test_length_adjusted_may_have_no_interval(score: list, length: list, cluster: list) -> None:
    found = length_adjusted(score, length, [0] * len(score), cluster)
    assert 0 < found[LC] < 1
    assert np.isnan(found[f"{LC}_low"]) and np.isnan(found[f"{LC}_high"])


def test_items_needed_by_hand() -> None:
    # (1.96 / 0.05)^2 / 4 = 384.1; with 20% ties four fifths of it, 307.3
    assert items_needed(0.05, 0.0) == 385
    assert items_needed(0.05, 0.2) == 308
    # kappa 0.5, three annotators: (0.5 + 0.5 / 3) = 2/3 of the variance, 256.1
    assert items_needed(0.05, 0.0, annotators=3, kappa=0.5) == 257
    assert items_needed(0.05, 0.0, annotators=3, kappa=1.0) == 385  # the same verdict three times


@pytest.mark.parametrize("annotators", [1, 3])
def test_as_many_items_as_needed_give_the_half_width(annotators: int) -> None:
    """Annotators see an item's true outcome, shares 0.35, 0.3, 0.35, with probability sqrt(0.5)
    each, and else draw one of their own: any two correlate by 0.5."""
    draw = np.random.default_rng(0)
    n = items_needed(0.04, 0.3, annotators, kappa=0.5)
    p, outcomes, size = [0.35, 0.3, 0.35], [1, 0.5, 0], (n, annotators)
    true, own = draw.choice(outcomes, (n, 1), p=p), draw.choice(outcomes, size, p=p)
    seen = np.where(draw.random(size) < np.sqrt(0.5), true, own)
    found = win_rate(seen.mean(axis=1), np.arange(n), seed=0)
    width = found["win_rate_high"] - found["win_rate_low"]
    assert width / 2 == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: win_rate([1, -1], [0, 1], 0), "score[1] is -1.0, and must be from 0 to 1 or NaN."),
        (lambda: position_bias([2], [0], 0), "choice[0] is 2.0, and must be from 0 to 1 or NaN."),
        (lambda: items_needed(0.5, 0), "half_width is 0.5, and must be above 0 and below 0.5."),
        (lambda: items_needed(0.1, 1), "tie_rate is 1, and must be at least 0 and below 1."),
        (
            lambda: items_needed(0.1, 0, 0),
            "annotators is 0, and must be a whole number, at least 1.",
        ),
        (lambda: items_needed(0.1, 0, 2, -0.1), "kappa is -0.1, and must be from 0 to 1."),
    ],
)
def test_bad_values_are_named(call, said: str) -> None:
    with pytest.raises(BadInput) as error:
        call()
    assert str(error.value) == said


def test_importing_the_statistics_is_light() -> None:
    check = (
        "import sys, sympo.evaluation.verdicts as v; v.win_rate([1, 0], [0, 1], 0); "
        "assert not {'torch', 'pandas', 'scipy', 'statsmodels'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("of", ["length", "other_length"])
def test_length_that_is_no_number_is_refused(odd: float, of: str) -> None:
    lengths = {"length": [1.0, 2.0, 3.0], "other_length": [2.0, 2.0, 2.0]}
    lengths[of][1] = odd
    with pytest.raises(BadInput, match=rf"^{of}\[1\] is {odd}, and must be a finite number"):
        length_adjusted([1, 0, 0.5], **lengths, cluster=[0, 1, 2])
