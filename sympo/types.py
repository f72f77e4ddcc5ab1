"""Typed records that the rooms of the library hand to each other."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


class BadInput(ValueError):
    """A setting or a data file that cannot work: one sentence that names the key or file, the
    value and what is allowed. Raised before any work starts."""

    def __init__(self, sentence: str) -> None:
        # it quotes files and command lines, which may hold anything
        super().__init__(printable(sentence))


class BadArgument(BadInput):
    """An argument that cannot work: `dropout=1.5 is not allowed: it must lie in [0, 1)`.

    rule: what is wrong with the value and what is allowed, as the sentence goes on after it.
    """

    def __init__(self, argument: str, value: object, rule: str) -> None:
        super().__init__(f"{argument}={value} {rule}")
        self.argument, self.value, self.rule = argument, value, rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.value, self.rule)

    def inside(self, part: str) -> "BadArgument":
        """The same of an argument of a part that is itself an argument."""
        return BadArgument(f"{part}.{self.argument}", self.value, self.rule)

    def within(self, place: str) -> BadInput:
        """The same of a setting, `model.dropout=1.5 is not allowed: ...`."""
        return BadInput(f"{place}.{self}")


@contextmanager
def within(place: str) -> Iterator[None]:
    """What a part says of its arguments is said of the settings at a place in here."""
    try:
        yield
    except BadArgument as error:
        raise error.within(place) from error


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
    score_gap: (n,) float, how far apart the scores of the two items are that came with the labels,
        such as a judge's; no truth to be measured against, only how close a pair is.
    """

    ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    gap: np.ndarray | None = None
    score_gap: np.ndarray | None = None

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
class ImagePreferences:
    """One seed's draw of an image data set: the images and the clean pairs of each split.

    pixels: (N, H, W) uint8, all images; pairs index into them.
    mean, std: of the training images' pixels, in the units of `pixels`.
    rewards: (N,) int64 or float64, the true rewards. levels: (N,) the level of each true reward, at
        which learned rewards are averaged: the reward itself, or the median of its tenth.
    test_images: (n,) int64, the images of the test split.
    """

    pixels: np.ndarray
    mean: float
    std: float
    rewards: np.ndarray
    train: PreferencePairs
    validation: PreferencePairs
    test: PreferencePairs
    test_images: np.ndarray
    levels: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation of a cell found.

    metrics: by name, None where a metric has no value. outcomes: by the name of the metric that is
        their mean, the packed outcomes of its test items (`sympo.outcomes`).
    """

    metrics: dict[str, float | None]
    outcomes: dict[str, str]


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

    def take(self, index: np.ndarray) -> "Encoded":
        """Some of the sequences, in the order of the index."""
        return Encoded([self.ids[i] for i in index], self.start[index])


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

    def take(self, index: np.ndarray) -> "TokenPairs":
        """Some of the pairs, in the order of the index."""
        return TokenPairs(
            taken(self.pairs, index),
            self.chosen.take(index),
            self.rejected.take(index),
            [self.prompts[i] for i in index],
            [self.texts[i] for i in index],
        )


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
class SplitAccount:
    """What became of the rows of one split: rows = pairs + the sum of left_out.

    rows: read for it, or taken for it out of the training rows. left_out: how many of them are no
        pairs of this split, by what became of them. changed: how many rows are not used as they
        were released, by what happened; a row may be in several of these.
    near_training: pairs with a prompt that is a training prompt but for case, punctuation and white
        space. rendered: pairs whose prompt holds chat text that is already rendered.
    """

    rows: int
    pairs: int
    left_out: Mapping[str, int]
    changed: Mapping[str, int]
    near_training: int = 0
    rendered: int = 0

    def after(self, left_out: Mapping[str, int], changed: Mapping[str, int]) -> "SplitAccount":
        """The account once a model has read the pairs, which left out and changed some more."""
        return replace(
            self,
            pairs=self.pairs - sum(left_out.values()),
            left_out=Counter(self.left_out) + Counter(left_out),
            changed=Counter(self.changed) + Counter(changed),
        )


@dataclass(frozen=True)
class Account:
    """What became of every row of a data set of texts.

    splits: of `train`, `validation` and `test`. notes: which splits these are, where no setting
    says so.
    """

    splits: Mapping[str, SplitAccount]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Preferences:
    """The splits of a preference data set for policies, clean, and what became of its rows."""

    train: TokenPairs
    validation: TokenPairs
    test: TokenPairs
    account: Account


def chosen_over_rejected(
    ids: np.ndarray, gap: np.ndarray | None = None, score_gap: np.ndarray | None = None
) -> PreferencePairs:
    """Pairs whose items are stored as chosen, rejected, chosen, ...: every clean label is +1."""
    first = 2 * np.arange(len(ids))
    return PreferencePairs(ids, first, first + 1, np.ones(len(ids)), gap, score_gap)


def taken(pairs: PreferencePairs, index: np.ndarray) -> PreferencePairs:
    """Some pairs that are stored as chosen, rejected, ..., in the order of the index."""
    gap, score_gap = (
        None if found is None else found[index] for found in (pairs.gap, pairs.score_gap)
    )
    return chosen_over_rejected(pairs.ids[index], gap, score_gap)
