import numpy as np
import pytest

from sympo.evaluation.flips import effective_pairs, flip_auroc, noise_estimate, split_margins


def test_auroc_by_hand_counts_ties_half() -> None:
    margin = np.array([-2.0, 1.0, 0.5, 0.5, 3.0])
    flipped = np.array([True, False, True, False, False])
    # the flipped pairs at -2 and 0.5 against 1, 0.5 and 3: five are right and one ties
    assert flip_auroc(margin, flipped) == pytest.approx(5.5 / 6)
    assert flip_auroc(np.zeros(5), flipped) == 0.5
    assert flip_auroc(margin, np.zeros(5, bool)) is None
    assert flip_auroc(margin, np.ones(5, bool)) is None


def test_auroc_is_that_of_all_comparisons() -> None:
    rng = np.random.default_rng(0)
    margin, flipped = rng.normal(size=300).round(1), rng.random(300) < 0.3
    apart = margin[~flipped] - margin[flipped][:, None]
    assert flip_auroc(margin, flipped) == pytest.approx((np.sign(apart).mean() + 1) / 2)
    assert flip_auroc(-margin, flipped) == pytest.approx(1 - (np.sign(apart).mean() + 1) / 2)


def test_the_noise_rate_of_planted_flips_is_found_within_its_error() -> None:
    rng = np.random.default_rng(1)
    for rate in (0.0, 0.1, 0.3, 0.45):
        found = []
        for _ in range(200):
            truth = rng.normal(size=1000)
            learned = truth + 0.3 * rng.normal(size=1000)  # right where the truth is far from 0
            label = np.where(rng.random(1000) < rate, -1, 1) * np.sign(truth)
            found.append(noise_estimate(learned * label))
        values, errors = np.array(found).T
        assert values.mean() == pytest.approx(rate, abs=0.005)
        assert values.std() == pytest.approx(errors.mean(), abs=0.003)


def test_a_model_that_is_wrong_on_anchors_gives_too_high_a_rate() -> None:
    rng = np.random.default_rng(2)
    rate, right = 0.2, 0.9
    agreed = (rng.random(200_000) < right) == (rng.random(200_000) >= rate)
    margin = np.where(agreed, 1.0, -1.0)
    expected = rate + (1 - 2 * rate) * (1 - right)
    assert noise_estimate(margin)[0] == pytest.approx(expected, abs=0.01)
    assert noise_estimate(np.zeros(10))[0] == 0.5


def test_margins_of_flipped_and_other_pairs_apart() -> None:
    found = split_margins(np.array([1.0, 2.0, -4.0]), np.array([False, False, True]))
    assert found == {"margin_flipped": -4, "margin_unflipped": 1.5}
    assert split_margins(np.ones(2), np.zeros(2, bool))["margin_flipped"] is None


def test_effective_pairs_by_hand() -> None:
    assert effective_pairs(0, 50) == 50
    assert effective_pairs(20, 50) == pytest.approx(50 * (1 - 2 * 0.4) ** 2)
    assert effective_pairs(25, 50) == 0
