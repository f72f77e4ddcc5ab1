import numpy as np
import pytest

from sympo.evaluation.rewards import (
    agreement,
    calibration_error,
    clean_metrics,
    clustered_error,
    gap_slope,
    gaps,
    label_metrics,
    order_metrics,
    standard_error,
)
from sympo.evaluation.selection import earliest_best
from sympo.types import NoisyPairs, PreferencePairs, chosen_over_rejected


def pairs(first: list[int], second: list[int], truth: np.ndarray, label: object = 1.0):
    one, two = np.array(first), np.array(second)
    gap = (truth[one] - truth[two]).astype(float)
    return PreferencePairs(
        np.arange(len(one), dtype=np.uint64), one, two, np.broadcast_to(label, len(one)), gap
    )


def test_ties_count_one_half() -> None:
    assert agreement(np.array([2.0, -1.0, 0.0]), np.array([5.0, 5.0, 5.0])).tolist() == [1, 0, 0.5]


def test_order_metrics_by_hand() -> None:
    truth = np.array([0, 1, 2, 3])
    learned = np.array([0.0, 2.0, 1.0, 2.0])
    # gaps of the pairs (1,0) (2,1) (3,1) (3,2): learned 2, -1, 0, 1: right, wrong, tie, right
    shown = pairs([1, 2, 3, 3], [0, 1, 1, 2], truth)
    found = order_metrics(gaps(learned, shown), shown)
    assert found["order_accuracy"] == pytest.approx(2.5 / 4)
    assert found["tie_rate"] == pytest.approx(1 / 4)


def test_memorised_share_by_hand() -> None:
    truth = np.arange(4)
    shown = pairs([1, 2, 3, 3], [0, 1, 1, 2], truth)
    noisy = NoisyPairs(shown, np.array([True, True, False, False]))
    found = label_metrics(np.array([1.0, 0.0, 2.0, 1.0]), noisy)
    # the flipped pairs (1,0), (2,1) say r0 > r1, r1 > r2: the first is memorised, the second not;
    # of the others (3,1) is right and (3,2) wrong
    assert found["flipped_memorised"] == pytest.approx(0.5)
    assert found["noisy_accuracy"] == pytest.approx(0.5)
    assert found["clean_accuracy"] == pytest.approx(0.5)


def test_standard_error_of_disjoint_pairs_is_the_usual_one() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(2000)
    scores = (rng.random(1000) < 0.8).astype(float)
    disjoint = pairs(list(range(0, 2000, 2)), list(range(1, 2000, 2)), truth)
    assert standard_error(scores, disjoint) == pytest.approx(scores.std() / np.sqrt(1000))


@pytest.mark.parametrize("sampled", [150, 2000])
def test_standard_error_covers_when_pairs_share_items(sampled: int) -> None:
    """Items are drawn anew each time, and stand in many pairs: mean +- 1.96 se must cover the
    accuracy over all items in 93 to 97% of the draws (counting the pairs as independent covers
    about 50% at 2,000 pairs)."""
    rng = np.random.default_rng(1)
    items, trials = 150, 2000
    shape = (400_000, 2)
    quality, noise = rng.normal(size=shape), rng.normal(size=shape)
    truth = np.mean((quality[:, 0] > quality[:, 1]) == (
        quality[:, 0] + noise[:, 0] > quality[:, 1] + noise[:, 1]))  # fmt: skip
    covered = naive = 0
    for _ in range(trials):
        true_reward = rng.normal(size=items)
        learned = true_reward + rng.normal(size=items)
        first = rng.integers(0, items, sampled)
        second = (first + rng.integers(1, items, sampled)) % items
        shown = pairs(first.tolist(), second.tolist(), true_reward)
        scores = agreement(learned[first] - learned[second], shown.gap)
        mean, error = scores.mean(), standard_error(scores, shown)
        covered += abs(mean - truth) < 1.96 * error
        naive += abs(mean - truth) < 1.96 * scores.std() / np.sqrt(sampled)
    assert 0.93 <= covered / trials <= 0.97
    if sampled == 2000:
        assert naive / trials < 0.7


def test_clustered_error_by_hand() -> None:
    scores = np.array([1.0, 1.0, 0.0, 0.0])
    # every pair a prompt of its own: the usual one; two prompts that say one thing each: two draws
    assert clustered_error(scores, np.arange(4)) == pytest.approx(0.5 / 2)
    assert clustered_error(scores, np.array([0, 0, 1, 1])) == pytest.approx(0.5 / np.sqrt(2))
    assert clustered_error(scores, np.array([0, 1, 0, 1])) == 0


def test_clustered_error_covers_when_pairs_share_prompts() -> None:
    rng = np.random.default_rng(0)
    prompts, trials = 200, 2000
    covered = naive = 0
    for _ in range(trials):
        prompt = np.sort(rng.integers(0, prompts, 400))
        # how easy a prompt is decides half of its pairs
        easy = rng.random(prompts) < 0.6
        scores = np.where(rng.random(400) < 0.5, easy[prompt], rng.random(400) < 0.6).astype(float)
        off = abs(scores.mean() - 0.6)
        covered += off < 1.96 * clustered_error(scores, prompt)
        naive += off < 1.96 * scores.std() / 20
    assert 0.93 <= covered / trials <= 0.97 and naive / trials < 0.93


def test_clean_metrics_of_chosen_and_rejected_answers() -> None:
    rewards = np.array([2.0, 1.0, 0.0, 1.0, 3.0, 3.0])  # right, wrong, a tie
    labelled = chosen_over_rejected(np.arange(3, dtype=np.uint64))
    found = clean_metrics(rewards, labelled, np.array([0, 0, 1]))
    assert found["label_accuracy"] == pytest.approx(1.5 / 3)
    assert found["tie_rate"] == pytest.approx(1 / 3)
    assert found.keys() == {"label_accuracy", "label_accuracy_se", "tie_rate"}
    # of the gold order the second label is wrong
    ordered = chosen_over_rejected(np.arange(3, dtype=np.uint64), np.array([1.0, -1.0, 1.0]))
    assert clean_metrics(rewards, ordered, np.arange(3))["order_accuracy"] == pytest.approx(2.5 / 3)


def test_calibration_of_labels_that_are_all_one_way() -> None:
    rng = np.random.default_rng(0)
    gap = rng.normal(scale=3, size=100_000)
    first = rng.random(len(gap)) < 1 / (1 + np.exp(-gap))
    rewards = np.stack([np.where(first, gap, -gap), np.zeros(len(gap))], 1).ravel()
    stored = chosen_over_rejected(np.arange(len(gap), dtype=np.uint64), np.where(first, gap, -gap))
    found = clean_metrics(rewards, stored, np.arange(len(gap)))
    assert found["ece"] < 0.01
    assert clean_metrics(5 * rewards, stored, np.arange(len(gap)))["ece"] > 0.1


def test_calibration_is_against_bradley_terry_labels() -> None:
    rng = np.random.default_rng(0)
    gap = rng.normal(scale=3, size=200_000)
    label = np.where(rng.random(200_000) < 1 / (1 + np.exp(-gap)), 1.0, -1.0)
    assert calibration_error(gap, label) < 0.01  # a perfect reward is calibrated
    assert calibration_error(gap * 5, label) > 0.1  # the right order at the wrong scale is not
    assert calibration_error(gap, np.sign(gap)) > 0.1  # the order itself would punish it
    # by hand: two pairs in one bin, predicted 1/2 each, both +1
    assert calibration_error(np.zeros(2), np.ones(2)) == pytest.approx(0.5)


def test_slope_of_the_learned_gap_by_hand() -> None:
    # (1 * 2 + 2 * 2 + 3 * 8) / (1 + 4 + 9)
    learned, truth = np.array([2.0, 2.0, 8.0]), np.array([1.0, 2.0, 3.0])
    assert gap_slope(learned, truth) == pytest.approx(30 / 14)
    # the order in which a pair is presented changes nothing
    swapped = np.array([1.0, -1.0, 1.0])
    assert gap_slope(swapped * learned, swapped * truth) == pytest.approx(30 / 14)
    assert gap_slope(learned, np.zeros(3)) is None


def test_slope_is_one_where_bradley_terry_is_recovered() -> None:
    truth = np.arange(4)
    shown = pairs([1, 2, 3], [0, 0, 1], truth)
    assert order_metrics(gaps(truth + 7.0, shown), shown)["gap_slope"] == 1
    assert order_metrics(gaps(truth / 2, shown), shown)["gap_slope"] == 0.5
    rewards = np.array([2.0, 1.0, 0.0, 3.0])
    labelled = chosen_over_rejected(np.arange(2, dtype=np.uint64), np.array([2.0, -1.0]))
    # learned 1 and -3 on true 2 and -1
    assert clean_metrics(rewards, labelled, np.arange(2))["gap_slope"] == (2 + 3) / 5


def test_selection_takes_the_earliest_of_equals() -> None:
    evaluations = [{"epoch": e, "v": v} for e, v in ((5, 0.6), (10, 0.7), (15, 0.7))]
    assert earliest_best(evaluations, "v")["epoch"] == 10
