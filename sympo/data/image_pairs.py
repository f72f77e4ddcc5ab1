"""Pairs of images with different rewards: each image once at most, or any pairs."""

from collections.abc import Callable

import numpy as np

from sympo.types import BadArgument

# images, rewards of all images, how many pairs (None: all), draws, split -> both sides of the pairs
Pairing = Callable[
    [np.ndarray, np.ndarray, int | None, np.random.Generator, str], tuple[np.ndarray, np.ndarray]
]
MOST_PAIRS = 5_000_000


def disjoint(
    images: np.ndarray,
    rewards: np.ndarray,
    size: int | None,
    rng: np.random.Generator,
    split: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share no image; BadArgument if there are fewer than `size`, or none."""
    shuffled = rng.permutation(images)[: len(images) // 2 * 2]
    one, two = shuffled[0::2], shuffled[1::2]
    keep = rewards[one] != rewards[two]
    _check(split, size, int(keep.sum()), "disjoint", len(images))
    return one[keep][:size], two[keep][:size]


def sampled(
    images: np.ndarray,
    rewards: np.ndarray,
    size: int | None,
    rng: np.random.Generator,
    split: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs, uniform over all; BadArgument if there are fewer than `size`, or none."""
    n = len(images)
    total = n * (n - 1) // 2
    counts = np.unique(rewards[images], return_counts=True)[1]
    available = total - int((counts * (counts - 1) // 2).sum())
    if size is None and available > MOST_PAIRS:
        raise BadArgument(
            f"{split}_pairs", "null", f"would make {available} pairs of {n} images; give a number"
        )
    _check(split, size, available, "sampled", n)
    size = available if size is None else size
    drawn = min(total, int(size * total / available * 1.05) + 100)
    while True:
        # pair number k of all i < j, in the order of the upper triangle's rows
        k = rng.choice(total, drawn, replace=False)
        i = n - 2 - np.floor((np.sqrt(4.0 * n * (n - 1) - 8.0 * k - 7) - 1) / 2).astype(np.int64)
        j = k + i + 1 - total + (n - i) * (n - i - 1) // 2
        one, two = images[i], images[j]
        keep = rewards[one] != rewards[two]
        if keep.sum() >= size:
            return one[keep][:size], two[keep][:size]
        drawn = min(total, 2 * drawn)


PAIRINGS: dict[str, Pairing] = {"disjoint": disjoint, "sampled": sampled}


def _check(split: str, size: int | None, available: int, pairing: str, images: int) -> None:
    if available and (size is None or size <= available):
        return
    advice = " or set pairing=sampled" if pairing == "disjoint" else ""
    raise BadArgument(
        f"{split}_pairs",
        "null" if size is None else size,
        f"is not possible: the {images} {split} images give only {available} {pairing} pairs of "
        f"different rewards; ask for {'fewer' if available else 'more images'}{advice}",
    )
