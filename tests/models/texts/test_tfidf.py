"""A linear reward of the words of an answer."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from sympo.models.texts.tfidf import Tfidf
from sympo.types import BadInput

CHOSEN = ["a good answer", "a very good answer", "good"]
REJECTED = ["a bad answer", "no answer", "very bad"]
TFIDF = Tfidf(longest=2, min_df=1, scale=2.0)


def test_rewards_are_linear_in_scikit_learns_features() -> None:
    train, other = TFIDF.features([CHOSEN, REJECTED], [[["good bad", "unseen"], ["", "good"]]])
    model = TFIDF.build(train)
    assert np.all(model.score(train, 100) == 0)
    weight = np.random.default_rng(0).normal(size=train.size)
    model.model.weight.data[:, 0] = torch.tensor(weight)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(CHOSEN + REJECTED)
    expected = [2 * vectorizer.transform(side) @ weight for side in (CHOSEN, REJECTED)]
    np.testing.assert_allclose(model.score(train, 100), np.stack(expected, 1), atol=1e-5)
    np.testing.assert_allclose(model.score(train, 1), model.score(train, 100), atol=1e-6)
    assert model.score(other, 100)[1, 0] == 0  # words that training did not see say nothing
    assert model.scores(train, np.array([2, 0])).shape == (2, 2)


def test_the_vocabulary_is_that_of_the_training_answers() -> None:
    train, other = Tfidf(longest=1, min_df=2, scale=1.0).features(
        [CHOSEN, REJECTED], [[["zebra zebra"] * 3, ["zebra"] * 3]]
    )
    assert train.size == 4  # answer, bad, good, very; single letters are no words
    assert other.matrices[0].nnz == 0


@pytest.mark.parametrize("changes", [{"longest": 0}, {"min_df": 0}, {"scale": 0.0}])
def test_bad_settings(changes: dict[str, float]) -> None:
    settings = {"longest": 1, "min_df": 1, "scale": 1.0, **changes}
    with pytest.raises(BadInput, match=f"^{next(iter(changes))}="):
        Tfidf(**settings).check()  # type: ignore[arg-type]


def test_words_that_are_too_rare() -> None:
    with pytest.raises(BadInput, match=r"^min_df=9"):
        Tfidf(longest=1, min_df=9, scale=1.0).features([CHOSEN, REJECTED], [])


@pytest.mark.parametrize(
    ("longest", "first", "second", "alike"),
    [
        (2, "Yes, it is.", "yes it IS!", True),
        (2, "good dog", "bad dog", False),
        (1, "dog bites man", "man bites dog", True),
        (2, "dog bites man", "man bites dog", False),
        (2, "good good", "good", False),
        (2, "no zebra", "no unseen", False),
    ],
)
def test_texts_that_no_weights_tell_apart(
    longest: int, first: str, second: str, alike: bool
) -> None:
    model = Tfidf(longest=longest, min_df=1, scale=1.0)
    assert model.alike([first, "a good dog"], [second, "a bad dog"]).tolist() == [alike, False]


def test_pairs_that_training_tells_nothing_of_are_counted() -> None:
    train, other = TFIDF.features([CHOSEN, REJECTED], [[["a zebra", "good"], ["one", "bad"]]])
    assert (train.tied, other.tied) == (0, 1)
