import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from sympo.data.digits import Digits
from sympo.data.image_pairs import sampled
from sympo.data.images import ImageDataset, LabelledImages, levels
from sympo.evaluation.rank_metrics import RankMetrics
from sympo.noise import InstanceDependent, flip
from sympo.types import BadInput, ImagePreferences, PreferencePairs

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made(ImageDataset):
    """Random images; `images_count` of them, the last `official` being an official test set."""

    images_count: int = 400
    official: int = 0

    def read(self) -> LabelledImages:
        rng = np.random.default_rng(0)
        return LabelledImages(
            rng.integers(0, 256, (self.images_count, 4, 4)).astype(np.uint8),
            rng.integers(0, 10, self.images_count),
            self.official,
        )


def made(**changes: object) -> Made:
    settings = {"train_images": 200, "validation_images": 100, "train_pairs": 80}
    return Made(**{**settings, "validation_pairs": 30, **changes})  # type: ignore[arg-type]


def images_of(pairs: PreferencePairs) -> set[int]:
    return {*pairs.first.tolist(), *pairs.second.tolist()}


@given(
    seed=st.integers(0, 2**31),
    pairing=st.sampled_from(["disjoint", "sampled"]),
    official=st.sampled_from([0, 100]),
)
@settings(max_examples=25, deadline=None)
def test_no_image_is_in_two_splits(seed: int, pairing: str, official: int) -> None:
    data = made(pairing=pairing, images_count=500, official=official).draw(seed)
    train, validation, test = (images_of(getattr(data, split)) for split in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert test <= set(data.test_images.tolist())
    if official:
        assert set(data.test_images.tolist()) == set(range(400, 500))


@pytest.mark.parametrize("pairing", ["disjoint", "sampled"])
def test_pairs_are_distinct_and_never_tied(pairing: str) -> None:
    data = made(pairing=pairing).draw(3)
    for split in SPLITS:
        pairs = getattr(data, split)
        assert len(np.unique(pairs.ids)) == len(pairs)
        assert (pairs.gap != 0).all()
        assert (pairs.gap == data.rewards[pairs.first] - data.rewards[pairs.second]).all()
        assert set(np.unique(pairs.label)) <= {-1.0, 1.0}
    if pairing == "disjoint":
        used = np.concatenate([data.train.first, data.train.second])
        assert len(np.unique(used)) == len(used)


def test_sampling_can_take_every_pair() -> None:
    everything = made(pairing="sampled", test_pairs=None).draw(0)
    digits = everything.rewards[everything.test_images]
    untied = (digits[:, None] != digits[None, :]).sum() // 2
    assert len(everything.test) == untied


def test_sampling_is_uniform_over_pairs() -> None:
    counts = np.zeros((12, 12))
    images, digits = np.arange(12), np.arange(12) % 4
    for seed in range(3000):
        one, two = sampled(images, digits, 10, np.random.default_rng(seed), "train")
        np.add.at(counts, (np.minimum(one, two), np.maximum(one, two)), 1)
    untied = np.triu(digits[:, None] != digits[None, :], 1)
    assert (counts[~untied] == 0).all()
    expected = 3000 * 10 / untied.sum()
    # the largest of 54 standardised binomial counts
    assert np.abs(counts[untied] - expected).max() < 4 * np.sqrt(expected)


def test_labels_follow_bradley_terry() -> None:
    data = made(images_count=3000, train_images=2500, train_pairs=40_000, pairing="sampled",
                temperature=0.5).draw(1)  # fmt: skip
    pairs = data.train
    for gap in (-3.0, -1.0, 1.0, 3.0):
        labels = pairs.label[pairs.gap == gap] > 0
        expected = 1 / (1 + np.exp(-0.5 * gap))
        assert abs(labels.mean() - expected) < 4 * np.sqrt(0.25 / len(labels))


def test_the_source_of_a_pair_is_the_level_of_its_better_image() -> None:
    data = made()
    pairs = data.draw(0).train
    rewards = data.images.rewards
    better = np.maximum(rewards[pairs.first], rewards[pairs.second])
    levels = {int(source): int(reward) for source, reward in zip(pairs.source, better, strict=True)}
    assert [levels[int(source)] for source in pairs.source] == better.tolist()
    assert sorted(levels, key=levels.__getitem__) == sorted(levels)


def test_presentation_order_is_random() -> None:
    pairs = made(images_count=3000, train_images=2500, train_pairs=20_000, pairing="sampled")
    data = pairs.draw(0)
    assert abs((data.train.gap > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)


def test_a_seed_is_a_draw() -> None:
    def same(a: ImagePreferences, b: ImagePreferences) -> bool:
        return np.array_equal(a.train.ids, b.train.ids) and np.array_equal(
            a.train.label, b.train.label
        )

    assert same(made().draw(0), made().draw(0))
    assert not same(made().draw(0), made().draw(1))


def test_a_larger_draw_keeps_the_smaller_one() -> None:
    few, many = made(train_pairs=20).draw(0).train, made(train_pairs=80).draw(0).train
    assert np.array_equal(few.ids, many.ids[:20]) and np.array_equal(few.label, many.label[:20])


def test_digits_are_those_of_scikit_learn() -> None:
    ours = Digits().read()
    theirs = load_digits()
    assert np.array_equal(ours.pixels, theirs.images)
    assert np.array_equal(ours.rewards, theirs.target)


def test_fingerprint_is_of_the_content() -> None:
    assert made().fingerprint() == made(train_pairs=10).fingerprint()
    assert made().fingerprint() != made(images_count=401).fingerprint()


def test_fingerprints_stay() -> None:
    # what folders of earlier runs are named by
    assert Digits().fingerprint() == "4f6850648caa7452"


def test_too_many_pairs() -> None:
    with pytest.raises(BadInput, match=r"^train_pairs=90 .*set pairing=sampled"):
        made(train_pairs=90, train_images=100, validation_images=100).draw(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given(ImageDataset):
    """Images as given."""

    found: LabelledImages = dataclasses.field(hash=False)

    def read(self) -> LabelledImages:
        return self.found


def given_images(rewards: object, pixels: object = None, test: int = 0, **changes: Any) -> Given:
    found = np.asarray(rewards)
    shown = np.zeros((len(found), 4, 4), np.uint8) if pixels is None else pixels
    sizes = {"train_images": 40, "validation_images": 20, "train_pairs": 10, "validation_pairs": 5}
    return Given(found=LabelledImages(shown, found, test), **{**sizes, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("pairing", ["disjoint", "sampled"])
def test_real_valued_and_negative_rewards(pairing: str) -> None:
    rewards = np.random.default_rng(0).normal(size=100)
    data = given_images(rewards, pairing=pairing)
    data.check()
    draw = data.draw(0)
    assert draw.rewards.dtype == np.float64
    for split in SPLITS:
        pairs = getattr(draw, split)
        np.testing.assert_array_equal(pairs.gap, rewards[pairs.first] - rewards[pairs.second])
        assert (pairs.gap != 0).all()
    noisy = flip(InstanceDependent(), 0.3, draw.train, 0)
    assert len(noisy.flipped) == 10
    shown = rewards[draw.test_images]
    (found,) = RankMetrics(shown, draw.levels[draw.test_images])(torch.from_numpy(shown[None]))
    assert found["spearman"] == pytest.approx(1)
    means = [value for name, value in found.items() if name.startswith("reward_mean/")]
    assert 5 <= len(means) <= 10 and means == sorted(means)


def test_equal_real_rewards_are_never_paired() -> None:
    rewards = np.repeat([-0.5, 0.25, 1.75], 20)
    data = given_images(rewards, pairing="sampled", train_images=30, validation_images=12)
    draw = data.draw(0)
    held = np.unique(rewards[draw.test_images], return_counts=True)[1]
    assert len(draw.test) == (sum(held) ** 2 - sum(held**2)) // 2
    assert (draw.test.gap != 0).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_integer_rewards_of_any_type_are_the_same_data(kind: type) -> None:
    rewards = np.arange(100) % 7
    data, same = given_images(rewards.astype(kind)), given_images(rewards)
    assert data.fingerprint() == same.fingerprint()
    np.testing.assert_array_equal(data.draw(0).train.gap, same.draw(0).train.gap)


def test_levels_are_the_rewards_themselves_or_tenths() -> None:
    few = np.repeat([-1.5, 0.0, 2.5], 40)
    assert levels(few) is few
    many = np.random.default_rng(0).permutation(np.arange(1000) / 7)
    found = levels(many)
    values, counts = np.unique(found, return_counts=True)
    assert counts.tolist() == [100] * 10
    for value in values:
        own = many[found == value]
        assert own.min() <= value <= own.max() and np.ptp(own) < 15
        assert value == float(f"{value:.3g}")
    assert len(np.unique(levels(1e6 + many / 1e3))) == 10
    tied = np.concatenate([np.zeros(900), np.arange(1, 101)])
    assert len(np.unique(levels(tied)[:900])) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": [0.0, np.nan] * 50}, "reward nan for image 1; rewards must be finite"),
        ({"rewards": [0.0, np.inf] * 50}, "reward inf for image 1; rewards must be finite"),
        ({"rewards": np.zeros((100, 2))}, r"rewards of shape \(100, 2\)"),
        ({"rewards": ["a", "b"] * 50}, "rewards of shape .* type <U1; they must"),
        (
            {"rewards": np.arange(99), "pixels": np.zeros((100, 4, 4), np.uint8)},
            "100 images and 99",
        ),
        ({"pixels": np.zeros((100, 4, 4))}, "type float64; they must .* uint8"),
        ({"pixels": np.zeros((100, 16), np.uint8)}, r"shape \(100, 16\)"),
        ({"rewards": np.ones(100)}, "1 distinct reward; pairs need at least two"),
        ({"rewards": [], "pixels": np.zeros((0, 4, 4), np.uint8)}, "type float64|distinct"),
        ({"rewards": [1e308, -1e308] * 50}, "differences must be exact"),
        ({"rewards": [0, 2**60] * 50}, "differences must be exact"),
        ({"test": 100}, "test=100 of 100 images; some must be left"),
        ({"test": -1}, "test=-1; it must be a number of images"),
    ],
)
def test_bad_images_are_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    data = given_images(**{"rewards": np.arange(100), **changes})
    with pytest.raises(BadInput, match=rf"^Given\.read\(\) returned .*{words}") as error:
        data.check()
    assert "\n" not in str(error.value)


def test_read_that_returns_something_else() -> None:
    data = dataclasses.replace(given_images(np.arange(100)), found=(1, 2))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"returned a tuple; it must return LabelledImages"):
        data.check()


@pytest.mark.parametrize("pairing", ["disjoint", "sampled"])
def test_a_split_without_different_rewards(pairing: str) -> None:
    rewards = np.concatenate([np.arange(80), np.zeros(20)])
    with pytest.raises(BadInput, match=r"^test_pairs=null is not possible: the 20 test images"):
        given_images(rewards, test=20, pairing=pairing).draw(0)
