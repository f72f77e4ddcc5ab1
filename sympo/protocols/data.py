"""What jobs ask of data sets and noise models."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from sympo.types import (
    Account,
    Encoded,
    ImagePreferences,
    NoiseCase,
    PreferencePairs,
    Preferences,
    TokenPairs,
    Vocabulary,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# true rewards (n,) of n prompts and n responses, both as token ids
GoldReward = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], np.ndarray]


class SampledResponses(Protocol):
    """What a sampler returns: n responses as integer arrays, closed by an end of sequence unless
    they were cut."""

    @property
    def ids(self) -> Sequence[np.ndarray]: ...


# one response of the reference policy to each prompt, drawn from a seed: (prompts, seed)
SamplePolicy = Callable[[Sequence[np.ndarray], int], SampledResponses]


class Dataset(Protocol):
    """Clean preferences, from which every job starts.

    identity: stable name of the class in a run's identity, declared by each concrete class.
    outside_identity: settings that cannot change a number, such as a path whose content
        `fingerprint` hashes.
    holds: what a pair consists of.
    """

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]]
    holds: ClassVar[Literal["images", "texts"]]

    def check(self) -> None:
        """Raise BadInput for settings and data that cannot work, before any work."""

    def fingerprint(self) -> str:
        """A hash of the data's content, 16 hexadecimal digits."""


class ImageData(Dataset, Protocol):
    """Images with true rewards; every seed draws other pairs.

    train_pairs: number of training pairs.
    """

    @property
    def train_pairs(self) -> int: ...

    def draw(self, seed: int) -> ImagePreferences:
        """The splits, pairs and clean labels of one seed."""


class TextData(Dataset, Protocol):
    """Pairs of responses to a prompt.

    from_policy: whether the pairs are samples of the reference policy, so that they depend on it
        and on the seed; otherwise they are released texts (`ReleasedTexts`).
    beside_corpus: settings that the corpus of supervised fine-tuning does not depend on.
    on_rendered: what becomes of prompts that hold rendered chat text, and what to do about it.
    """

    from_policy: ClassVar[bool]
    beside_corpus: ClassVar[frozenset[str]]
    on_rendered: ClassVar[str]

    @property
    def scored(self) -> bool:
        """Whether scores came with the labels, which give `PreferencePairs.score_gap`."""

    @property
    def twice_judged(self) -> bool:
        """Whether a second annotator compared the pairs, which gives `PreferencePairs.disputed`."""

    @property
    def sourced(self) -> bool:
        """Whether the source of every pair is known, which gives `PreferencePairs.source`."""

    @property
    def annotated(self) -> bool:
        """Whether the annotator of every pair is known: `PreferencePairs.annotator`."""

    @property
    def gold_reward(self) -> GoldReward | None:
        """The true reward; None if it is unknown."""

    @property
    def max_length(self) -> int:
        """Longest prompt and response together, in tokens, the end of sequence included."""

    @property
    def max_prompt_length(self) -> int:
        """Longest prompt, in tokens."""

    def check_tokenizer(self, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        """Raise BadInput for a tokenizer that cannot write these texts."""

    def vocabulary(self, tokenizer: "PreTrainedTokenizerBase | None") -> Vocabulary:
        """The token ids of a policy with this tokenizer."""

    def corpus(self, tokenizer: "PreTrainedTokenizerBase | None") -> Encoded:
        """What supervised fine-tuning learns."""

    def preferences(
        self, seed: int, tokenizer: "PreTrainedTokenizerBase | None", sample: SamplePolicy
    ) -> Preferences:
        """The clean splits of a seed; `sample` is called if `from_policy`."""

    def described(self, made: TokenPairs) -> TokenPairs:
        """Pairs of this data set with what noise models may ask for besides gaps: the length gap,
        in tokens, and the source and the annotator of each pair if they are known."""

    def answered(
        self,
        dialogues: Sequence[Sequence[Mapping[str, str]]],
        first: Sequence[str],
        second: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None",
        max_length: int,
    ) -> TokenPairs:
        """Two responses to each dialogue, given as texts, encoded as in training."""

    def text(
        self, ids: Sequence[int] | np.ndarray, tokenizer: "PreTrainedTokenizerBase | None"
    ) -> str:
        """A response's token ids as text, without special tokens."""

    def length(self, text: str) -> int:
        """The length of a response, by which the longer of two is found."""


class SplitTexts(Protocol):
    """The usable pairs of one split as texts.

    pairs: n records with `prompt`, `chosen`, `rejected` and `criterion`.
    places: where each pair was read, by its id.
    """

    @property
    def pairs(self) -> Sequence[object]: ...

    @property
    def places(self) -> Mapping[int, str]: ...

    @property
    def preferences(self) -> PreferencePairs:
        """The pairs without their texts; (n,) clean labels, all +1."""


class ReleasedTexts(TextData, Protocol):
    """Texts that exist before any model; the splits depend neither on the seed nor on a policy.

    texts_hold: the keys of each pair's text. reading: version of how rows become pairs; raising it
        invalidates earlier stages.
    """

    texts_hold: ClassVar[tuple[str, ...]]
    reading: ClassVar[int]

    @property
    def splits(self) -> Mapping[str, SplitTexts]:
        """`train`, `validation` and `test`."""

    def account(self) -> Account:
        """What became of every row, before any model has read the pairs."""


class GoldTexts(TextData, Protocol):
    """Texts whose true reward is known."""

    def gold_reward(
        self, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray]
    ) -> np.ndarray:
        """The true reward of each prompt and response; (n,)."""

    def ids(self, text: str) -> np.ndarray:
        """Token ids of a text; raises BadInput if it is not in the language."""


class NoiseModel(Protocol):
    """How the noise rate is spread over the pairs."""

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        """The flip probability of each pair: (n,) float64 in [0, 1].

        noise: the rate in [0, 0.5) that a user asks for, an average over the pairs. Raises BadInput
        if this model cannot reach it on these pairs.
        """

    def cases(self, noise: float, pairs: PreferencePairs, seed: int) -> Sequence[NoiseCase]:
        """What may be drawn for each pair besides its flip, such as its order: all cases, whose
        probabilities add up to 1. By default nothing is, and there is one case."""
        rates = self.rates(noise, pairs, seed)
        return [NoiseCase(np.ones(len(rates)), rates)]
