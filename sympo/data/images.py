"""Preference pairs of images, each of which has a true reward, such as its digit.

Protocol (arXiv 2505.24709, section on MNIST preference): images are paired, pairs of equal rewards
dropped, and the label drawn from Bradley-Terry, P(y = +1) = sigmoid(temperature * (r1 - r2)).
Images are split into train, validation and test *before* pairing, so that no image is in two
splits. Everything is drawn from the seed: one seed is one draw of the whole experiment.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from sympo import ranges, seeding
from sympo.data.image_pairs import PAIRINGS
from sympo.numeric import sigmoid
from sympo.ranges import Count, Positive
from sympo.types import BadArgument, BadInput, ImagePreferences, PreferencePairs

# more distinct rewards than this are averaged over tenths of the images
MOST_LEVELS = 20
TENTHS = 10
# integers up to here are exact as float64
LARGEST_INTEGER = 2**53


@dataclass(frozen=True)
class LabelledImages:
    """Images as released, with the true reward of each.

    pixels: (N, H, W) uint8. rewards: (N,) integers or floats, negative ones included, finite.
    test: how many of the last images are the official test set; 0 if there is none.
    """

    pixels: np.ndarray
    rewards: np.ndarray
    test: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageDataset(ABC):
    """Settings that all image data sets share; a new one implements `read`.

    pairing: "disjoint" uses each image in at most one pair; "sampled" draws distinct pairs, in
        which an image may occur many times.
    train_images, validation_images: number of images of each split; the test split is the
        official one, or the remaining images.
    train_pairs, validation_pairs, test_pairs: number of pairs; test_pairs=None takes all of them.
    temperature: of the Bradley-Terry labels.
    raw_pixels: whether models are given the grey levels as they are, as in the authors' code,
        instead of standardised ones.
    """

    identity: ClassVar[str]  # declared by each concrete class
    holds: ClassVar[Literal["images", "texts"]] = "images"
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    # whether the fingerprint is of the bytes alone, as that of data released in one form can be
    content_only: ClassVar[bool] = False

    train_images: Count
    validation_images: Count
    train_pairs: Count
    validation_pairs: Count
    test_pairs: Count | None = None
    pairing: str = "disjoint"
    temperature: Positive = 1.0
    raw_pixels: bool = False

    @abstractmethod
    def read(self) -> LabelledImages:
        """All images and their true rewards; raises BadInput if they are missing or corrupt."""

    @cached_property
    def images(self) -> LabelledImages:
        """What `read` returned, checked; rewards are int64 or float64."""
        return _checked(self.read(), f"{type(self).__name__}.read()")

    def fingerprint(self) -> str:
        """A hash of pixels and rewards, which replaces their path in a cell's identity."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.images.pixels.tobytes())
        digest.update(self.images.rewards.tobytes())
        if not self.content_only:
            pixels, rewards, test = self.images.pixels, self.images.rewards, self.images.test
            digest.update(f"{pixels.shape} {rewards.dtype} {test}".encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Refuse settings and images that cannot work, before any cell starts."""
        if self.pairing not in PAIRINGS:
            raise BadArgument(
                "pairing", repr(self.pairing), f"is not known: use one of {', '.join(PAIRINGS)}"
            )
        ranges.check(self)
        source = self.images
        available = len(source.rewards) - source.test
        needed = self.train_images + self.validation_images
        spare = 0 if source.test else 1
        if needed + spare > available:
            raise BadArgument(
                "train_images",
                self.train_images,
                f"and validation_images={self.validation_images} ask for {needed} images of "
                f"{available}" + ("" if source.test else ", which must leave some for testing"),
            )

    def draw(self, seed: int) -> ImagePreferences:
        """The splits, pairs and clean labels of one seed.

        Raises BadArgument if a split has fewer pairs than asked for.
        """
        source = self.images
        total = len(source.rewards)
        order = seeding.generator(seed, "split").permutation(total - source.test)
        train = order[: self.train_images]
        rest = order[self.train_images :]
        validation = rest[: self.validation_images]
        test = (
            np.arange(total - source.test, total) if source.test else rest[len(validation) :]
        ).astype(np.int64)
        pixels = source.pixels[train]
        return ImagePreferences(
            pixels=source.pixels,
            mean=0.0 if self.raw_pixels else float(pixels.mean()),
            std=1.0 if self.raw_pixels else float(pixels.std()),
            rewards=source.rewards,
            train=self._pairs("train", train, self.train_pairs, seed),
            validation=self._pairs("validation", validation, self.validation_pairs, seed),
            test=self._pairs("test", test, self.test_pairs, seed),
            test_images=test,
            levels=self._levels,
        )

    @cached_property
    def _levels(self) -> np.ndarray:
        return levels(self.images.rewards)

    def _pairs(
        self, split: str, images: np.ndarray, size: int | None, seed: int
    ) -> PreferencePairs:
        rng = seeding.generator(seed, "pairs", split)
        rewards = self.images.rewards
        one, two = PAIRINGS[self.pairing](images, rewards, size, rng, split)
        low, high = np.minimum(one, two).astype(np.uint64), np.maximum(one, two).astype(np.uint64)
        ids = (low << np.uint64(32)) | high
        swap = seeding.uniform(seed, "order", ids) < 0.5
        first, second = np.where(swap, two, one), np.where(swap, one, two)
        gap = (rewards[first] - rewards[second]).astype(np.float64)
        preferred = seeding.uniform(seed, "label", ids) < sigmoid(self.temperature * gap)
        label = np.where(preferred, 1.0, -1.0)
        return PreferencePairs(ids, first, second, label, gap, source=self._source(first, second))

    def _source(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The level of each pair's better image, numbered from the lowest."""
        number = np.unique(self._levels, return_inverse=True)[1]
        source: np.ndarray = np.maximum(number[first], number[second]).astype(np.uint64)
        return source


def levels(rewards: np.ndarray) -> np.ndarray:
    """The level of each true reward, (N,): itself if few are distinct, else its tenth's median.

    Images of equal reward are in one tenth, so tenths differ in size if rewards are tied.
    """
    values, place, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    if len(values) <= MOST_LEVELS:
        return rewards
    middle = np.cumsum(counts) - counts / 2
    tenth = np.unique((TENTHS * middle / len(rewards)).astype(np.int64)[place], return_inverse=True)
    inside = [np.sort(rewards[tenth[1] == number]) for number in range(len(tenth[0]))]
    return _short(np.array([own[len(own) // 2] for own in inside]))[tenth[1]]


def _short(numbers: np.ndarray) -> np.ndarray:
    """Numbers with three digits if that keeps them apart, for they name metrics."""
    short = np.array([float(f"{number:.3g}") for number in numbers])
    if numbers.dtype.kind == "f" and len(np.unique(short)) == len(numbers):
        return short
    return numbers


def _checked(found: LabelledImages, source: str) -> LabelledImages:
    """Images whose arrays are as LabelledImages describes them; BadInput names what is not."""
    if not isinstance(found, LabelledImages):
        raise BadInput(
            f"{source} returned a {type(found).__name__}; it must return "
            "LabelledImages(pixels, rewards)"
        )
    pixels, rewards, test = np.asarray(found.pixels), np.asarray(found.rewards), found.test
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise BadInput(
            f"{source} returned pixels of shape {pixels.shape} and type {pixels.dtype}; they must "
            "be of shape (N, height, width) and type uint8, grey levels 0 to 255"
        )
    if rewards.ndim != 1 or rewards.dtype.kind not in "biuf":
        raise BadInput(
            f"{source} returned rewards of shape {rewards.shape} and type {rewards.dtype}; they "
            "must be of shape (N,), integers or floats"
        )
    if len(pixels) != len(rewards):
        raise BadInput(
            f"{source} returned {len(pixels)} images and {len(rewards)} rewards; every image has "
            "one reward"
        )
    _check_values(rewards, source)
    if isinstance(test, bool) or not isinstance(test, int | np.integer) or test < 0:
        raise BadInput(f"{source} returned test={test!r}; it must be a number of images, or 0")
    if test >= len(rewards):
        raise BadInput(
            f"{source} returned test={test} of {len(rewards)} images; some must be left to train on"
        )
    exact = rewards.astype(np.float64 if rewards.dtype.kind == "f" else np.int64)
    return LabelledImages(pixels, exact, int(test))


def _check_values(rewards: np.ndarray, source: str) -> None:
    if not np.isfinite(rewards).all():
        place = int(np.flatnonzero(~np.isfinite(rewards))[0])
        raise BadInput(
            f"{source} returned the reward {rewards[place]} for image {place}; rewards must be "
            "finite"
        )
    distinct = np.unique(rewards)
    if len(distinct) < 2:
        raise BadInput(
            f"{source} returned {len(rewards)} images with {len(distinct)} distinct reward; pairs "
            "need at least two different rewards"
        )
    low, high = float(distinct[0]), float(distinct[-1])
    if not np.isfinite(high - low) or (
        rewards.dtype.kind != "f" and max(-low, high) > LARGEST_INTEGER
    ):
        raise BadInput(
            f"{source} returned rewards from {low:g} to {high:g}; their differences must be exact "
            "in float64"
        )
