import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from sympo.data.digits import Digits
from sympo.data.images import ImageDataset, ImagePreferences, LabelledImages, _sampled
from sympo.types import BadInput, PreferencePairs

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
        assert (pairs.gap == data.digits[pairs.first] - data.digits[pairs.second]).all()
        assert set(np.unique(pairs.label)) <= {-1.0, 1.0}
    if pairing == "disjoint":
        used = np.concatenate([data.train.first, data.train.second])
        assert len(np.unique(used)) == len(used)


def test_sampling_can_take_every_pair() -> None:
    everything = made(pairing="sampled", test_pairs=None).draw(0)
    digits = everything.digits[everything.test_images]
    untied = (digits[:, None] != digits[None, :]).sum() // 2
    assert len(everything.test) == untied


def test_sampling_is_uniform_over_pairs() -> None:
    counts = np.zeros((12, 12))
    images, digits = np.arange(12), np.arange(12) % 4
    for seed in range(3000):
        one, two = _sampled(images, digits, 10, np.random.default_rng(seed), "train")
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
    ours = Digits(train_images=1, validation_images=1, train_pairs=1, validation_pairs=1).read()
    theirs = load_digits()
    assert np.array_equal(ours.pixels, theirs.images)
    assert np.array_equal(ours.digits, theirs.target)


def test_fingerprint_is_of_the_content() -> None:
    assert made().fingerprint() == made(train_pairs=10).fingerprint()
    assert made().fingerprint() != made(images_count=401).fingerprint()


def test_too_many_pairs() -> None:
    with pytest.raises(BadInput, match=r"dataset.train_pairs=90.*sampled"):
        made(train_pairs=90, train_images=100, validation_images=100).draw(0)
