"""Preference pairs of images: the reward of an image is its digit.

Protocol (arXiv 2505.24709, section on MNIST preference): images are paired, pairs of equal digits
dropped, and the label drawn from Bradley-Terry, P(y = +1) = sigmoid(temperature * (r1 - r2)).
Images are split into train, validation and test *before* pairing, so that no image is in two
splits. Everything is drawn from the seed: one seed is one draw of the whole experiment.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from sympo import ranges, seeding
from sympo.numeric import sigmoid
from sympo.ranges import Count, Positive
from sympo.types import BadInput, PreferencePairs

PAIRINGS = ("disjoint", "sampled")
MOST_PAIRS = 5_000_000


@dataclass(frozen=True)
class LabelledImages:
    """Images as released: pixels (N, H, W) uint8, digits (N,) int64; the last `test` ones are the
    official test set (0 where there is none)."""

    pixels: np.ndarray
    digits: np.ndarray
    test: int = 0


@dataclass(frozen=True)
class ImagePreferences:
    """One seed's draw: the images, how to normalise them, and the clean pairs of each split.

    pixels: (N, H, W) uint8, all images; pairs index into it.
    mean, std: of the training images' pixels, in the units of `pixels`.
    digits: (N,) int64, the true rewards.
    test_images: (n,) int64, the images of the test split.
    """

    pixels: np.ndarray
    mean: float
    std: float
    digits: np.ndarray
    train: PreferencePairs
    validation: PreferencePairs
    test: PreferencePairs
    test_images: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ImageDataset(ABC):
    """Settings that every image data set shares; a new one says how its images are read.

    pairing: "disjoint" uses each image in one pair at most; "sampled" draws distinct pairs, in
        which an image may stand many times.
    train_images, validation_images: how many images each split gets; the test split is the
        official one, or the images that are left.
    train_pairs, validation_pairs, test_pairs: how many pairs; test_pairs=None takes all of them.
    temperature: of the Bradley-Terry labels.
    """

    train_images: Count
    validation_images: Count
    train_pairs: Count
    validation_pairs: Count
    test_pairs: Count | None = None
    pairing: str = "disjoint"
    temperature: Positive = 1.0
    _images: list[LabelledImages] = field(default_factory=list, repr=False, compare=False)

    @abstractmethod
    def read(self) -> LabelledImages:
        """Read the images; raises BadInput where they are missing or corrupt."""

    @property
    def images(self) -> LabelledImages:
        if not self._images:
            self._images.append(self.read())
        return self._images[0]

    def fingerprint(self) -> str:
        """A hash of the data's content, which stands for its path in a cell's identity."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.images.pixels.tobytes())
        digest.update(self.images.digits.tobytes())
        return digest.hexdigest()

    def check(self) -> None:
        """Refuse settings that cannot work, before any cell starts."""
        if self.pairing not in PAIRINGS:
            raise BadInput(
                f"dataset.pairing={self.pairing!r} is not known: use one of {', '.join(PAIRINGS)}"
            )
        ranges.check(self)
        source = self.images
        available = len(source.digits) - source.test
        needed = self.train_images + self.validation_images
        spare = 0 if source.test else 1
        if needed + spare > available:
            raise BadInput(
                f"dataset.train_images={self.train_images} and dataset.validation_images="
                f"{self.validation_images} ask for {needed} images of {available}"
                + ("" if source.test else ", which must leave some for the test split")
            )

    def draw(self, seed: int) -> ImagePreferences:
        """The splits, pairs and clean labels of one seed.

        Raises BadInput where a split cannot give as many pairs as asked for.
        """
        source = self.images
        total = len(source.digits)
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
            mean=float(pixels.mean()),
            std=float(pixels.std()),
            digits=source.digits,
            train=self._pairs("train", train, self.train_pairs, seed),
            validation=self._pairs("validation", validation, self.validation_pairs, seed),
            test=self._pairs("test", test, self.test_pairs, seed),
            test_images=test,
        )

    def _pairs(
        self, split: str, images: np.ndarray, size: int | None, seed: int
    ) -> PreferencePairs:
        rng = seeding.generator(seed, "pairs", split)
        digits = self.images.digits
        make = _disjoint if self.pairing == "disjoint" else _sampled
        one, two = make(images, digits, size, rng, split)
        low, high = np.minimum(one, two).astype(np.uint64), np.maximum(one, two).astype(np.uint64)
        ids = (low << np.uint64(32)) | high
        swap = seeding.uniform(seed, "order", ids) < 0.5
        first, second = np.where(swap, two, one), np.where(swap, one, two)
        gap = (digits[first] - digits[second]).astype(np.float64)
        preferred = seeding.uniform(seed, "label", ids) < sigmoid(self.temperature * gap)
        return PreferencePairs(ids, first, second, np.where(preferred, 1.0, -1.0), gap)


def _too_many(split: str, size: int, available: int, pairing: str, images: int) -> BadInput:
    advice = " or set dataset.pairing=sampled" if pairing == "disjoint" else ""
    return BadInput(
        f"dataset.{split}_pairs={size}: the {images} {split} images give only {available} "
        f"{pairing} pairs of different digits; ask for fewer{advice}"
    )


def _disjoint(
    images: np.ndarray,
    digits: np.ndarray,
    size: int | None,
    rng: np.random.Generator,
    split: str,
) -> tuple[np.ndarray, np.ndarray]:
    shuffled = rng.permutation(images)[: len(images) // 2 * 2]
    one, two = shuffled[0::2], shuffled[1::2]
    keep = digits[one] != digits[two]
    if size is not None and size > keep.sum():
        raise _too_many(split, size, int(keep.sum()), "disjoint", len(images))
    return one[keep][:size], two[keep][:size]


def _sampled(
    images: np.ndarray,
    digits: np.ndarray,
    size: int | None,
    rng: np.random.Generator,
    split: str,
) -> tuple[np.ndarray, np.ndarray]:
    n = len(images)
    total = n * (n - 1) // 2
    counts = np.bincount(digits[images])
    available = total - int((counts * (counts - 1) // 2).sum())
    if size is None and available > MOST_PAIRS:
        raise BadInput(
            f"dataset.{split}_pairs=null would make {available} pairs of {n} images; give a number"
        )
    size = available if size is None else size
    if size > available:
        raise _too_many(split, size, available, "sampled", n)
    drawn = min(total, int(size * total / available * 1.05) + 100)
    while True:
        # pair number k of all i < j, in the order of the upper triangle's rows
        k = rng.choice(total, drawn, replace=False)
        i = n - 2 - np.floor((np.sqrt(4.0 * n * (n - 1) - 8.0 * k - 7) - 1) / 2).astype(np.int64)
        j = k + i + 1 - total + (n - i) * (n - i - 1) // 2
        one, two = images[i], images[j]
        keep = digits[one] != digits[two]
        if keep.sum() >= size:
            return one[keep][:size], two[keep][:size]
        drawn = min(total, 2 * drawn)
