"""Random pairs of token sequences."""

import numpy as np
from hypothesis import strategies as st

from sympo.types import Encoded

Sides = list[Encoded]


def encoded(*sequences: tuple[list[int], int]) -> Encoded:
    """Sequences of (ids, start of the answer)."""
    ids = [np.array(ids, np.int64) for ids, _ in sequences]
    return Encoded(ids, np.array([start for _, start in sequences]))


def answers(side: Encoded) -> list[list[int]]:
    return [list(ids[start:]) for ids, start in zip(side.ids, side.start, strict=True)]


def draw(rows: int, longest: int, vocabulary: int, seed: int = 0) -> Sides:
    """Pairs with a prompt, and some with the first tokens of their answers, in common."""
    generator = np.random.default_rng(seed)

    def some(least: int, most: int) -> list[int]:
        return list(generator.integers(0, vocabulary, generator.integers(least, most + 1)))

    sides: list[list[tuple[list[int], int]]] = [[], []]
    for _ in range(rows):
        prompt = some(1, longest // 2)
        common = some(0, longest // 8)
        for side in sides:
            side.append((prompt + common + some(1, longest // 2), len(prompt)))
    return [encoded(*side) for side in sides]


@st.composite
def sides(draw: st.DrawFn, vocabulary: int = 3) -> Sides:
    """One or two sides of a few rows; of so few ids that sides often begin alike."""
    token = st.integers(0, vocabulary - 1)
    texts = st.lists(token, max_size=9)
    found: list[list[tuple[list[int], int]]] = [[] for _ in range(draw(st.integers(1, 2)))]
    for _ in range(draw(st.integers(1, 5))):
        prompt = draw(st.lists(token, min_size=1, max_size=5))
        for side in found:
            side.append((prompt + draw(texts) + [draw(token)], len(prompt)))
    return [encoded(*side) for side in found]
