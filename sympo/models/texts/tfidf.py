"""A reward that is linear in the words of an answer: what no reward model should fall behind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sympo import ranges
from sympo.models.texts.packed_rows import parts
from sympo.models.texts.scorers import Scorer
from sympo.ranges import Count, Positive, Range
from sympo.types import BadInput


@dataclass(frozen=True, kw_only=True)
class Tfidf:
    """r(x, a) = scale * w . phi(a), phi the TF-IDF weights of the answer's words and word pairs.

    phi is scikit-learn's, with unit norm, sublinear in the counts and without labels: its
    vocabulary and document frequencies are those of the training answers. Features of the prompt
    would be the same for both answers of a pair and cancel in its margin. w begins at 0.

    longest: words of the longest n-gram; min_df: answers in which an n-gram must occur; scale: what
        lets one learning rate suit this model and networks.
    tokenizer_path: is not read; it stands here so that a sweep over this model and networks can
        name the tokenizer of the networks.
    """

    answers: ClassVar[bool] = False
    rewards_texts: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = False

    longest: Annotated[int, Range(least=1, most=100)]
    min_df: Count
    scale: Positive
    tokenizer_path: str | None = None

    def fingerprint(self) -> str:
        """Of no files, so that no path is part of a cell's identity."""
        return ""

    def check(self) -> None:
        ranges.check(self)

    def alike(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Which pairs of texts have the same n-grams equally often, whatever training has; (n,)
        bool: no weights tell them apart."""
        words, ngrams = (self._vectorizer(n).build_analyzer() for n in (1, self.longest))
        return np.array(
            [
                # most pairs differ in their words, which are faster to count
                sorted(words(one)) == sorted(words(other))
                and sorted(ngrams(one)) == sorted(ngrams(other))
                for one, other in zip(first, second, strict=True)
            ],
            dtype=bool,
        )

    def _vectorizer(self, longest: int) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(
            ngram_range=(1, longest), min_df=self.min_df, sublinear_tf=True, dtype=np.float32
        )

    def features(
        self, training: Sequence[Sequence[str]], others: Sequence[Sequence[Sequence[str]]]
    ) -> list["Features"]:
        """phi of the answers of the training split and of others, each given as two sides.

        BadInput where no n-gram occurs often enough.
        """
        vectorizer = self._vectorizer(self.longest)
        try:
            vectorizer.fit([text for side in training for text in side])
        except ValueError as error:
            raise BadInput(
                f"model.min_df={self.min_df}: no n-gram of words is in so many training answers"
            ) from error
        return [
            Features([vectorizer.transform(side) for side in split])
            for split in (training, *others)
        ]

    def build(self, features: "Features") -> "LinearReward":
        return LinearReward(features.size, self.scale)


class Features:
    """Sparse features of the two answers of each pair, row by row.

    sides: a scipy.sparse CSR matrix (rows, size) of each side.
    """

    def __init__(self, matrices: Sequence[Any]) -> None:
        self.matrices, self.sides = matrices, len(matrices)
        self.size = matrices[0].shape[1]
        counts = [np.diff(matrix.indptr) for matrix in matrices]
        self.lengths = np.stack(counts, 1).astype(np.float64)
        self.tokens = np.sum(counts, 0)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tied(self) -> int:
        """How many pairs have two answers with equal features."""
        apart = abs(self.matrices[0] - self.matrices[1])
        return int((apart.max(axis=1).toarray().ravel() == 0).sum())

    def batches(self, index: np.ndarray, most_tokens: int) -> Iterator[np.ndarray]:
        """Split row numbers, in their order, into parts of at most so many features."""
        return parts(self.tokens, index, most_tokens)


class LinearReward(Scorer):
    """A linear reward of sparse features."""

    def __init__(self, size: int, scale: float) -> None:
        self.model, self.scale = nn.EmbeddingBag(size, 1, mode="sum"), scale
        nn.init.zeros_(self.model.weight)

    def to(self, device: str) -> "LinearReward":
        self.model.to(device)
        return self

    def scores(self, rows: Features, index: np.ndarray) -> Tensor:
        return torch.stack([self._side(matrix[index]) for matrix in rows.matrices], 1)

    def _side(self, matrix: Any) -> Tensor:
        columns, starts, values = (
            torch.from_numpy(part).to(self.device)
            for part in (matrix.indices, matrix.indptr[:-1], matrix.data)
        )
        return self.scale * self.model(columns, starts, per_sample_weights=values)[:, 0]
