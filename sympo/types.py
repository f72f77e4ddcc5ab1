"""Typed records that the parts of the library exchange."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

# of an error; the path of a file may have hundreds of characters
LONGEST_SENTENCE = 1200


class BadInput(ValueError):
    """A setting or a data file that cannot work, in one sentence that names the key or file, the
    value and what is allowed. Raised before any work starts."""

    def __init__(self, sentence: str) -> None:  # may quote files and command lines
        super().__init__(shortened(printable(sentence)))


def closest(key: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown key: `did you mean name?`, or all there are."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"


class BadArgument(BadInput):
    """An argument that cannot work: `dropout=1.5 is not allowed: it must lie in [0, 1)`.

    rule: the rest of the sentence after the value: what is wrong and what is allowed.
    """

    def __init__(self, argument: str, value: object, rule: str) -> None:
        super().__init__(f"{argument}={value} {rule}")
        self.argument, self.value, self.rule = argument, value, rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.value, self.rule)

    def inside(self, part: str) -> "BadArgument":
        """The same error about an argument of a part that is itself an argument."""
        return BadArgument(f"{part}.{self.argument}", self.value, self.rule)

    def within(self, place: str) -> BadInput:
        """The same error about a setting: `model.dropout=1.5 is not allowed: ...`."""
        # as a config writes them
        value = {"None": "null", "True": "true", "False": "false"}.get(str(self.value), self.value)
        return BadInput(f"{place}.{self.argument}={value} {self.rule}")


@contextmanager
def within(place: str) -> Iterator[None]:
    """Turn a BadArgument raised inside into a BadInput about the setting at `place`."""
    try:
        yield
    except BadArgument as error:
        raise error.within(place) from error


def shortened(text: str) -> str:
    """A text without its middle if it is too long to be read as a sentence."""
    half = LONGEST_SENTENCE // 2 - 3
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:half]} ... {text[-half:]}"


def printable(text: str) -> str:
    """A text with control characters and broken Unicode escaped, safe to print on a terminal."""
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
    label: (n,) float, the clean label y: +1 if the first item is preferred, otherwise -1.
    gap: (n,) float, the true reward difference r(first) - r(second); None if no true reward exists
        (human or model labels).
    score_gap: (n,) float, the difference between the two items' scores that came with the labels,
        such as a judge's. It shows how close a pair is, and is not used as ground truth.
    disputed: (n,) bool, whether a second annotator preferred the other item; None without one.
    length_gap: (n,) int64, the length of the first item minus that of the second; None if items
        have no length.
    source, annotator: (n,) uint64, a key of where the pair comes from and of who labelled it; None
        if unknown.
    probability: (n,) float, the probability that the label is right, which came with the labels;
        None without one.
    """

    ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    gap: np.ndarray | None = None
    score_gap: np.ndarray | None = None
    disputed: np.ndarray | None = None
    length_gap: np.ndarray | None = None
    source: np.ndarray | None = None
    annotator: np.ndarray | None = None
    probability: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, count: int) -> "PreferencePairs":
        """The first pairs."""
        return PreferencePairs(**_part(self, slice(count)))

    def since(self, start: int) -> "PreferencePairs":
        """The pairs from this place on."""
        return PreferencePairs(**_part(self, slice(start, None)))


@dataclass(frozen=True)
class NoisyPairs:
    """Preference pairs and the flips that a noise model drew for them.

    flipped: (n,) bool, the true flip mask, with which evaluation measures what a model learned from
        flipped pairs.
    weight: (n,) float, at least 0, of each pair in the training loss; None for equal weights.
    probability: (n,) float in [0, 1], the probability that the label trained on is right; a pair
        then costs p l(z) + (1 - p) l(-z). None if labels are taken as right.
    turned: (n,) bool, whether a filter turned the noisy label around before training; None without
        a filter that does.
    doubt: (n,) float in [0, 1], the probability that the noisy label is wrong, as a filter sees it;
        None without a filter.
    """

    pairs: PreferencePairs
    flipped: np.ndarray
    weight: np.ndarray | None = None
    probability: np.ndarray | None = None
    turned: np.ndarray | None = None
    doubt: np.ndarray | None = None

    @property
    def noisy_label(self) -> np.ndarray:
        """The label that the noise model leaves: -y if flipped, otherwise y."""
        return np.where(self.flipped, -self.pairs.label, self.pairs.label)

    @property
    def trained_label(self) -> np.ndarray:
        """The label used in training: the noisy one, unless a filter turned it around."""
        noisy = self.noisy_label
        return noisy if self.turned is None else np.where(self.turned, -noisy, noisy)

    def cleaned(
        self, doubt: np.ndarray, action: Literal["remove", "flip", "soften"]
    ) -> "NoisyPairs":
        """The pairs as a filter hands them to the trainer; doubt: (n,), the probability that each
        label is wrong, or bool.

        remove: suspects, whose doubt is above 1/2, get weight 0. flip: their label is turned
        around. soften: every label is right with probability 1 - doubt, on top of the probability
        that came with it.
        """
        wrong = doubt.astype(np.float64)
        found, suspects = replace(self, doubt=wrong), wrong > 0.5
        if action == "flip":
            return replace(found, turned=suspects)
        if action == "soften":
            right = 1.0 if self.probability is None else self.probability
            mixed = (1 - wrong) * right + wrong * (1 - right)
            return replace(found, probability=mixed)
        kept = (~suspects).astype(np.float64)
        return replace(found, weight=kept if self.weight is None else self.weight * kept)

    def head(self, count: int) -> "NoisyPairs":
        """The first pairs."""
        return NoisyPairs(**_part(self, slice(count)) | {"pairs": self.pairs.head(count)})


@dataclass(frozen=True)
class NoiseCase:
    """One of the cases that a noise model may draw for each pair besides its flip.

    probability: (n,), of the case. rates: (n,), of a flip in this case.
    """

    probability: np.ndarray
    rates: np.ndarray


@dataclass(frozen=True)
class ImagePreferences:
    """One seed's draw of an image data set: the images and the clean pairs of each split.

    pixels: (N, H, W) uint8, all images; pairs index into them.
    mean, std: subtracted from pixels, and what they are divided by: those of the training images,
        or 0 and 1 for raw pixels.
    rewards: (N,) int64 or float64, the true rewards.
    levels: (N,) the level of each true reward, over which learned rewards are averaged: the reward
        itself, or the median of its decile.
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
    """The results of one evaluation of a cell.

    metrics: by name, None if a metric has no value. outcomes: packed outcomes of the test items
        (`sympo.outcomes`), by the name of the metric that is their mean.
    """

    metrics: dict[str, float | None]
    outcomes: dict[str, str]


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of a policy.

    size: number of embedding rows in use. bos: precedes every text; None if the model has no such
    token. eos: ends a response. pad: fills rows in generation, never scored.
    """

    size: int
    bos: int | None
    eos: int
    pad: int


@dataclass(frozen=True)
class Encoded:
    """Token sequences, each a prompt followed by a response; n sequences.

    ids: n integer arrays, prompt and response together.
    start: (n,) int64, where the response begins: tokens from here on are scored.
    """

    ids: Sequence[np.ndarray]
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, the tokens of each response."""
        lengths: np.ndarray = np.array([len(ids) for ids in self.ids], dtype=np.int64) - self.start
        return lengths

    def take(self, index: np.ndarray) -> "Encoded":
        """Some of the sequences, in the order of the index."""
        return Encoded([self.ids[i] for i in index], self.start[index])


@dataclass(frozen=True)
class TokenPairs:
    """Clean preferences between two responses to one prompt, as token ids; n pairs.

    pairs: item 2i is the chosen response of pair i and item 2i + 1 the rejected one, so that every
        clean label is +1.
    chosen, rejected: prompt and response of each side, the response ended by an end of sequence.
    prompts: n integer arrays, the prompts given to a policy.
    texts: n dicts for people and judges, with at least `prompt`, `chosen` and `rejected`.
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
    """Two responses to one dialogue, in the order in which a judge sees them.

    dialogue: messages with `role` and `content`, oldest first; the last one awaits a response.
    criterion: by which the responses are compared, `helpful` or `harmless`.
    """

    dialogue: Sequence[dict[str, str]]
    first: str
    second: str
    criterion: str = "helpful"


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on a comparison.

    choice: 1.0 if the first response is better, 0.0 if the second is, 0.5 for a tie, None if the
        judge's reply cannot be parsed. raw: the reply.
    prompt_tokens, completion_tokens: the cost of the reply, 0 if not counted.
    """

    choice: float | None
    raw: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class SplitAccount:
    """An account of the rows of one split: rows = pairs + the sum of left_out.

    rows: rows read for the split, or held out of the training rows for it. left_out: rows that did
        not become pairs of this split, counted by reason. changed: rows that are not used as
        released, counted by change; a row may count several times.
    near_training: pairs whose prompt matches a training prompt up to case, punctuation and white
        space. rendered: pairs whose prompt contains chat text that is already rendered.
    """

    rows: int
    pairs: int
    left_out: Mapping[str, int]
    changed: Mapping[str, int]
    near_training: int = 0
    rendered: int = 0

    def after(self, left_out: Mapping[str, int], changed: Mapping[str, int]) -> "SplitAccount":
        """The account after a model has left out and changed further pairs."""
        return replace(
            self,
            pairs=self.pairs - sum(left_out.values()),
            left_out=Counter(self.left_out) + Counter(left_out),
            changed=Counter(self.changed) + Counter(changed),
        )


@dataclass(frozen=True)
class Account:
    """An account of every row of a text data set.

    splits: of `train`, `validation` and `test`. notes: which splits these are, if no setting
    specifies it.
    """

    splits: Mapping[str, SplitAccount]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Preferences:
    """The clean splits of a preference data set for policies, and the account of its rows."""

    train: TokenPairs
    validation: TokenPairs
    test: TokenPairs
    account: Account


def chosen_over_rejected(
    ids: np.ndarray,
    gap: np.ndarray | None = None,
    score_gap: np.ndarray | None = None,
    disputed: np.ndarray | None = None,
    probability: np.ndarray | None = None,
) -> PreferencePairs:
    """Pairs whose items are stored as chosen, rejected, chosen, ...: every clean label is +1."""
    first = 2 * np.arange(len(ids))
    return PreferencePairs(
        ids,
        first,
        first + 1,
        np.ones(len(ids)),
        gap=gap,
        score_gap=score_gap,
        disputed=disputed,
        probability=probability,
    )


def taken(pairs: PreferencePairs, index: np.ndarray) -> PreferencePairs:
    """Some pairs that are stored as chosen, rejected, ..., in the order of the index."""
    columns = _part(pairs, index)
    stored = chosen_over_rejected(columns["ids"])
    return replace(
        stored, **columns | {name: getattr(stored, name) for name in ("first", "second", "label")}
    )


def _part(pairs: PreferencePairs | NoisyPairs, which: slice | np.ndarray) -> dict[str, Any]:
    """These values of every column that there is."""
    columns = {one.name: getattr(pairs, one.name) for one in fields(pairs)}
    return {
        name: column[which] if isinstance(column, np.ndarray) else None
        for name, column in columns.items()
    }
