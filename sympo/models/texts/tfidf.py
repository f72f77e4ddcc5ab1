"""A reward linear in the words of an answer: the baseline of reward models of texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sympo import ranges
from sympo.models.texts.ngrams import Ngrams, ngrams, words
from sympo.models.texts.packed_rows import parts
from sympo.models.texts.scorers import BaseScorer
from sympo.protocols.models import Reads
from sympo.ranges import Count, Positive, Range
from sympo.types import BadArgument

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, kw_only=True)
class Tfidf:
    """r(x, a) = scale * w . phi(a), phi the TF-IDF weights of the answer's words and word pairs.

    phi is scikit-learn's, with unit norm, sublinear in the counts and without labels: its
    vocabulary and document frequencies are those of the training answers. Features of the prompt
    would be the same for both answers of a pair and cancel in its margin. w begins at 0.

    longest: words of the longest n-gram; min_df: answers in which an n-gram must occur; scale: of
        the features, so that one learning rate suits this model and networks.
    tokenizer_path: not read; lets a sweep over this model and networks name their tokenizer.
    """

    identity: ClassVar[str] = "tfidf"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"tokenizer_path"})
    reads: ClassVar[Reads] = "words"
    answers: ClassVar[bool] = False

    longest: Annotated[int, Range(least=1, most=100)] = 2
    min_df: Count = 2
    scale: Positive = 30.0
    tokenizer_path: str | None = None

    def fingerprint(self) -> str:
        """Empty: it has no files."""
        return ""

    def check(self) -> None:
        ranges.check(self)

    def alike(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Which pairs of texts have the same n-gram counts, so that no weights can tell them apart;
        (n,) bool."""
        return np.array(
            [
                # compared first, because most pairs differ in their words
                sorted(words(one)) == sorted(words(other))
                and ngrams(one, self.longest) == ngrams(other, self.longest)
                for one, other in zip(first, second, strict=True)
            ],
            dtype=bool,
        )

    def features(
        self, training: Sequence[Sequence[str]], others: Sequence[Sequence[Sequence[str]]]
    ) -> list["Features"]:
        """phi of the answers of the training split and of others, each given as two sides.

        BadArgument if no n-gram occurs often enough.
        """
        known = Ngrams([text for side in training for text in side], self.longest, self.min_df)
        if not len(known):
            raise BadArgument(
                "min_df", self.min_df, "is too large: no n-gram is in so many training answers"
            )
        splits = [[known.counts(side) for side in split] for split in (training, *others)]
        rarity = _inverse_frequency(splits[0])
        for split in splits:
            for counts in split:
                _weigh(counts, rarity)
        return [Features(split) for split in splits]

    def build(self, features: "Features") -> "LinearReward":
        return LinearReward(features.size, self.scale)


def _inverse_frequency(matrices: Sequence["csr_matrix"]) -> np.ndarray:
    """(size,) float32, log((1 + n) / (1 + df)) + 1 of each n-gram in the n rows of all matrices."""
    size, rows = matrices[0].shape[1], sum(matrix.shape[0] for matrix in matrices)
    occurs = np.sum([np.bincount(one.indices, minlength=size) for one in matrices], axis=0)
    # in float32 throughout, as scikit-learn does
    found = np.full(size, rows + 1, dtype=np.float32) / (occurs.astype(np.float32) + 1)
    rarity: np.ndarray = np.log(found) + np.float32(1)
    return rarity


def _weigh(counts: "csr_matrix", rarity: np.ndarray) -> None:
    """Turn counts into TF-IDF weights (1 + log count) * rarity with unit norm, in place."""
    from sklearn.preprocessing import normalize

    np.log(counts.data, out=counts.data)
    counts.data += 1
    counts.data *= rarity[counts.indices]
    normalize(counts, copy=False)


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


class LinearReward(BaseScorer):
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
        sums: Tensor = self.model(columns, starts, per_sample_weights=values)
        return self.scale * sums[:, 0]
