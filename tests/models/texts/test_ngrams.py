"""Features bit by bit those of scikit-learn's TfidfVectorizer, in less memory."""

import random
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sympo.models.texts.ngrams import BLOCK, Ngrams, ngrams, words
from sympo.models.texts.tfidf import Tfidf

VOCABULARY = ["a", "be", "Be", "bé", "ÀÇ", "日本", "_x", "x1", "be_", "abc", "ab", "\n", "don't"]


def texts(draw: random.Random, count: int, longest: int = 9) -> list[str]:
    return [" ".join(draw.choices(VOCABULARY, k=draw.randrange(longest))) for _ in range(count)]


def vectorized(training: Sequence[str], longest: int, min_df: int) -> TfidfVectorizer:
    made = TfidfVectorizer(
        ngram_range=(1, longest), min_df=min_df, sublinear_tf=True, dtype=np.float32
    )
    return made.fit(training)


@pytest.mark.parametrize("seed", range(30))
def test_features_are_those_of_scikit_learn(seed: int) -> None:
    draw = random.Random(seed)
    longest, min_df = draw.choice([1, 2, 3, 5, 100]), draw.choice([1, 2, 3])
    splits = [[texts(draw, size), texts(draw, size)] for size in (20, 3)]
    theirs = vectorized([text for side in splits[0] for text in side], longest, min_df)
    found = Tfidf(longest=longest, min_df=min_df).features(splits[0], splits[1:])
    for split, made in zip(splits, found, strict=True):
        for side, matrix in zip(split, made.matrices, strict=True):
            expected = theirs.transform(side)
            assert matrix.shape == expected.shape
            for part in ("indptr", "indices", "data"):
                ours, wanted = getattr(matrix, part), getattr(expected, part)
                assert ours.dtype == wanted.dtype and ours.tobytes() == wanted.tobytes()


def test_columns_are_in_alphabetical_order() -> None:
    found = Ngrams(["bb aa bb", "aa bb aa bb", "cc"], 2, 1)
    # aa, aa bb, bb, bb aa, cc
    expected = [[1, 1, 2, 1, 0], [2, 2, 2, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    made = found.counts(["bb aa bb", "aa bb aa bb", "cc", "a dd"])
    assert made.toarray().tolist() == expected
    assert found.counts([]).shape == (0, 5)


def test_texts_are_counted_in_blocks() -> None:
    some = ["aa bb"] * BLOCK + ["bb cc", "aa bb cc"]
    found = Ngrams(some, 3, 2)
    assert len(found) == 5  # aa, aa bb, bb, bb cc, cc
    made = found.counts(some)
    assert made[BLOCK - 1].toarray().tolist() == [[1, 1, 1, 0, 0]]
    assert made[BLOCK + 1].toarray().tolist() == [[1, 1, 1, 1, 1]]


def test_words_and_ngrams() -> None:
    assert words("Don't say A b2, no_one.") == ["don", "say", "b2", "no_one"]
    assert ngrams("bb aa", 100) == [("aa",), ("bb",), ("bb", "aa")]
    assert ngrams("", 2) == []


def test_no_ngram_is_frequent_enough() -> None:
    for some in ([], ["", "a"], ["aa", "bb"]):
        assert len(Ngrams(some, 2, 2)) == 0
        assert Ngrams(some, 2, 2).counts(["aa"]).shape == (1, 0)


def test_memory_is_a_part_of_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    many = [
        " ".join(f"w{place}" for place in draw.zipf(1.3, 60).clip(max=20_000)) for _ in range(4000)
    ]

    tracemalloc.start()
    try:
        Tfidf().features([many[:2000], many[2000:]], [])
        ours = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        vectorized(many, 2, 2)
        theirs = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ours < 6000 * 2000  # bytes per pair
    assert ours < 0.7 * theirs  # a larger part of few texts than of many
