"""Batches of prompts for generation."""

from collections.abc import Iterator, Sequence

import numpy as np


def by_length(prompts: Sequence[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The numbers of prompts in batches of at most `size`, of similar length."""
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def padded(prompts: Sequence[np.ndarray], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts padded on the left, and which tokens are real, 0 or 1; both (n, longest)."""
    width = max(map(len, prompts))
    ids = np.full((len(prompts), width), pad, np.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[width - len(prompt) :] = prompt
    real = np.arange(width) >= width - np.array([[len(prompt)] for prompt in prompts])
    return ids, real.astype(np.int64)
