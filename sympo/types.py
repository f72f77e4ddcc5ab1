"""Typed records that the rooms of the library hand to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class BadInput(ValueError):
    """A setting or a data file that cannot work: one sentence that names the key or file, the
    value and what is allowed. Raised before any work starts."""

    def __init__(self, sentence: str) -> None:
        # it quotes files and command lines, which may hold anything
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    """A text with its control characters and broken Unicode as escapes: safe on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


@dataclass(frozen=True)
class PreferencePairs:
    """Pairs of items with a clean preference, in one presentation order; n pairs.

    ids: (n,) uint64, stable across runs; the key of every per-pair random draw.
    first, second: (n,) int64, indices of the two items of a pair in its data set.
    label: (n,) float, the clean label y: +1 where the first item is preferred, -1 otherwise.
    gap: (n,) float, the true reward difference r(first) - r(second); None where no true reward
        exists (human or model labels).
    """

    ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    gap: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class NoisyPairs:
    """Preference pairs and the flips that a noise model drew for them.

    flipped: (n,) bool, the true flip mask; it travels with the pairs so that evaluation can ask
        what a model made of the flipped ones.
    """

    pairs: PreferencePairs
    flipped: np.ndarray

    @property
    def noisy_label(self) -> np.ndarray:
        """The label that training sees: -y where flipped, y elsewhere."""
        return np.where(self.flipped, -self.pairs.label, self.pairs.label)


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that a policy speaks.

    size: number of rows of the embedding that are used; bos: put before every text, None where the
    model has no such token; eos: ends an answer; pad: fills rows in generation, never scored.
    """

    size: int
    bos: int | None
    eos: int
    pad: int


@dataclass(frozen=True)
class Encoded:
    """Token sequences, each a prompt followed by an answer; n sequences.

    ids: n integer arrays, prompt and answer together.
    start: (n,) int64, where the answer begins: tokens from here on are scored.
    """

    ids: Sequence[np.ndarray]
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenPairs:
    """Clean preferences between two answers to one prompt, as token ids; n pairs.

    pairs: item 2i is the chosen answer of pair i and item 2i + 1 the rejected one, so that every
        clean label is +1.
    chosen, rejected: prompt and answer of each side, the answer closed by an end of sequence.
    prompts: n integer arrays, what a policy is given to answer.
    texts: n dicts for people and judges, at least `prompt`, `chosen` and `rejected`.
    """

    pairs: PreferencePairs
    chosen: Encoded
    rejected: Encoded
    prompts: Sequence[np.ndarray]
    texts: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True)
class Comparison:
    """Two answers to one dialogue, in the order in which a judge sees them.

    dialogue: messages with `role` and `content`, oldest first, the newest one not yet answered.
    criterion: what makes an answer the better one, `helpful` or `harmless`.
    """

    dialogue: Sequence[dict[str, str]]
    first: str
    second: str
    criterion: str = "helpful"


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a comparison.

    choice: 1.0 where the first answer is better, 0.0 where the second is, 0.5 for a tie, None where
        the judge's words cannot be parsed. raw: its words.
    prompt_tokens, completion_tokens: what the words cost, 0 where nothing is counted.
    """

    choice: float | None
    raw: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Preferences:
    """The splits of a preference data set for policies, clean."""

    train: TokenPairs
    validation: TokenPairs
    test: TokenPairs


def chosen_over_rejected(ids: np.ndarray, gap: np.ndarray | None = None) -> PreferencePairs:
    """Pairs whose items are stored as chosen, rejected, chosen, ...: every clean label is +1."""
    first = 2 * np.arange(len(ids))
    return PreferencePairs(ids, first, first + 1, np.ones(len(ids)), gap)
