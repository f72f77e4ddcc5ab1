"""Preference pairs of texts: two responses to one prompt, split once and for all.

The splits depend on the rows' content alone: every draw is keyed by a hash of a row or of its
prompt, so neither the order of the rows nor the seed of the experiment moves them. No prompt is in
two splits.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from sympo import ranges, seeding
from sympo.data.chat_format import ChatFormat
from sympo.data.pair_columns import answers, said
from sympo.data.pair_encoding import Encoding, distinct, encode
from sympo.data.parts import VALIDATED_ON, Part, of_part
from sympo.data.row_account import counted, near, none_usable, none_written, rendered
from sympo.data.row_sources import PlacedRow
from sympo.data.text_pair import (
    TEXTS,
    Message,
    TextPair,
    annotators,
    disputes,
    probabilities,
    score_gaps,
    sources,
)
from sympo.data.text_rows import TextRows, usable_rows
from sympo.protocols.judging import LabelledPair, Split
from sympo.ranges import Count
from sympo.types import (
    Account,
    BadArgument,
    BadInput,
    Encoded,
    Preferences,
    SplitAccount,
    TokenPairs,
    Vocabulary,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# pairs of each split that are tried to learn whether a tokenizer can write any
TRIED_FIRST = 64


@dataclass(frozen=True, kw_only=True)
class TextDataset(ABC):
    """Settings that all data sets of texts share; a new one implements `rows`, and `pair` if its
    columns are not `prompt`, `chosen` and `rejected`.

    train_pairs, test_pairs: at most how many; None takes all. validation_pairs: how many are taken
        from the training rows, whole prompts at a time.
    max_length: of a prompt and a response together, in tokens; max_prompt_length: of the prompt.
    part: which training rows are used: those for `policies`, for a `judge`, or to validate it
        (60, 30 and 10% of the conversations), or `all`. `judge` is validated on the rows of
        `judge_validation`; the test split is the same for every part.
    """

    identity: ClassVar[str]  # declared by each concrete class
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    holds: ClassVar[Literal["images", "texts"]] = "texts"
    from_policy: ClassVar[bool] = False
    gold_reward: ClassVar[None] = None
    texts_hold: ClassVar[tuple[str, ...]] = TEXTS
    # raise it when pairs are read in another way: earlier stages no longer count
    reading: ClassVar[int] = 2
    # what becomes of prompts that hold rendered chat text, and what to do about it
    on_rendered: ClassVar[str] = "a chat template wraps it in one more turn"
    beside_corpus: ClassVar[frozenset[str]] = frozenset({"test_pairs"})

    train_pairs: Count | None = None
    validation_pairs: Count = 512
    test_pairs: Count | None = 1024
    max_length: Count = 512
    max_prompt_length: Count = 256
    part: Part = "all"

    @property
    def scored(self) -> bool:
        """Whether scores came with the labels, which measure how close a pair is."""
        return False

    @property
    def twice_judged(self) -> bool:
        """Whether a second annotator has compared every pair."""
        return False

    @property
    def sourced(self) -> bool:
        """Whether every pair has a subset."""
        return False

    @property
    def annotated(self) -> bool:
        """Whether the annotator of every pair is known."""
        return False

    @abstractmethod
    def rows(self, split: Literal["train", "test"]) -> Iterable[Mapping[str, Any] | PlacedRow]:
        """Yield the rows of a split as released, each a dict from column to value.

        Errors call a row "CLASS train row 7"; yield PlacedRow(where, row) to name its place.
        Raises BadInput if the rows cannot be read.
        """

    def pair(self, row: dict[str, Any]) -> TextPair:
        """The prompt and the two responses of a row.

        By default the columns `prompt`, `chosen` and `rejected`, each a string or messages with
        `role` and `content`. Raises Unusable(reason) if the row carries no preference: it is
        dropped and counted; raises BadInput if it is broken.
        """
        return answers(said(row, "prompt"), said(row, "chosen"), said(row, "rejected"))

    def read(self) -> tuple[TextRows, TextRows]:
        """The usable rows of the training and of the test split."""
        return self.usable("train"), self.usable("test")

    def check(self) -> None:
        """Raise BadInput for settings and data that cannot work, before any work."""
        ranges.check(self)
        if self.max_length <= self.max_prompt_length:
            raise BadArgument(
                "max_length",
                self.max_length,
                f"must be above max_prompt_length={self.max_prompt_length}, to leave room for a "
                "response",
            )
        if self.part not in (names := get_args(Part)):
            raise BadArgument("part", self.part, f"is not known: use one of {', '.join(names)}")
        for split, rows in zip(("train", "test"), self.released, strict=True):
            if not len(rows):
                raise BadInput(none_usable(split, rows.read, rows.dropped))
        if not len(self._free):
            raise BadInput(none_usable("train", self._free.read, self._free.dropped))
        if not len(self.splits["validation"]):
            other = self._part(VALIDATED_ON[self.part])
            why = none_usable("train", other.read, other.dropped)
            raise BadArgument("part", self.part, f"leaves no pairs to validate on: {why}")
        if not len(self.splits["train"]):
            usable = len(self._free)
            what = "exceeds" if self.validation_pairs > usable else "takes all prompts of"
            read = ", ".join([f"{self._free.read} read", *counted(self._free.dropped)])
            raise BadArgument(
                "validation_pairs",
                self.validation_pairs,
                f"{what} the {usable} usable training rows ({read}); choose fewer",
            )

    def check_tokenizer(self, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        """Raise BadInput for a tokenizer that cannot write any pair of a split."""
        tokenizer = _needed(tokenizer)
        if not any(tokenizer is one for one in self._tried):
            form = self.form(tokenizer)
            few = np.arange(TRIED_FIRST)
            firsts = (rows.take(few[: len(rows)]) for rows in self.splits.values())
            if not all(len(self._read(rows, form).pairs) for rows in firsts):
                self._encoded(tokenizer)
            self._tried.append(tokenizer)

    def form(self, tokenizer: "PreTrainedTokenizerBase") -> ChatFormat:
        """How prompts and responses are written as text."""
        return ChatFormat(tokenizer)

    def fingerprint(self) -> str:
        """A hash of the rows' content, which replaces their path in a cell's identity."""
        digest = hashlib.blake2b(digest_size=8)
        for rows in self.released:
            digest.update(np.sort(rows.ids).tobytes() + len(rows).to_bytes(8, "big"))
            # a noise model may read scores and disputes, and losses take probabilities, none of
            # which are part of any id
            for column in (score_gaps, disputes, probabilities):
                if (found := column(rows.pairs)) is not None:
                    digest.update(found[np.argsort(rows.ids)].tobytes())
        return digest.hexdigest()

    def vocabulary(self, tokenizer: "PreTrainedTokenizerBase | None") -> Vocabulary:
        """The token ids of a policy with this tokenizer."""
        tokenizer = _needed(tokenizer)
        eos = self.form(tokenizer).eos
        fillers = (tokenizer.pad_token_id, tokenizer.unk_token_id, eos)
        pad = next(token for token in fillers if token is not None)
        return Vocabulary(len(tokenizer), tokenizer.bos_token_id, eos, pad)

    def corpus(self, tokenizer: "PreTrainedTokenizerBase | None") -> Encoded:
        """What supervised fine-tuning learns: the chosen responses of the clean training pairs."""
        return self._encoded(tokenizer)["train"].pairs.chosen

    def preferences(
        self, seed: int, tokenizer: "PreTrainedTokenizerBase | None", sample: object
    ) -> Preferences:
        """The clean splits; they depend neither on the seed nor on samples of the policy."""
        encodings = self._encoded(tokenizer)
        splits = {split: made.pairs for split, made in encodings.items()}
        return Preferences(**splits, account=self.account(encodings))

    def described(self, made: TokenPairs) -> TokenPairs:
        """Pairs of this data set with their length gap, in tokens, source and annotator."""
        rows = [self._by_id[number] for number in made.pairs.ids.tolist()]
        pairs = replace(
            made.pairs,
            length_gap=made.chosen.lengths - made.rejected.lengths,
            source=sources(rows),
            annotator=annotators(rows),
        )
        return replace(made, pairs=pairs)

    @cached_property
    def _by_id(self) -> dict[int, TextPair]:
        """The pairs of all splits by their ids."""
        return {
            number: pair
            for rows in self.splits.values()
            for number, pair in zip(rows.ids.tolist(), rows.pairs, strict=True)
        }

    def answered(
        self,
        dialogues: Sequence[Sequence[Mapping[str, str]]],
        first: Sequence[str],
        second: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None",
        max_length: int,
    ) -> TokenPairs:
        """Two responses to each prompt, given as texts, as token ids.

        max_length: of a prompt and a response, in tokens; a long response shortens the prompt, to
        no less than half of it. `pairs.ids` are the positions of those that the chat template
        accepts.
        """
        tokenizer = _needed(tokenizer)
        pairs = [
            TextPair([dict(message) for message in dialogue], one, other)
            for dialogue, one, other in zip(dialogues, first, second, strict=True)
        ]
        places = np.arange(len(pairs), dtype=np.uint64)
        form = self.form(tokenizer)
        sizes = [[len(ids) for ids in form.ids(list(side))] for side in (first, second)]
        # each pair by itself: the other pairs must not change it
        room = max_length - np.max(sizes, axis=0, initial=0) - len(form.lead) - len(form.end)
        room = np.clip(room, max_length // 2, max_length - len(form.end) - 1)
        return encode(pairs, places, form, max_length, room).pairs

    def text(
        self, ids: Sequence[int] | np.ndarray, tokenizer: "PreTrainedTokenizerBase | None"
    ) -> str:
        """A response's token ids as text, without special tokens."""
        return self.form(_needed(tokenizer)).decode(ids)

    def length(self, text: str) -> int:
        """The characters of a response."""
        return len(text)

    def account(self, encodings: Mapping[str, Encoding] | None = None) -> Account:
        """What became of every row: as encoded for a model, or before any if none is given."""
        asked = {
            name: [pair.prompt for pair in rows.pairs]
            if encodings is None
            else [text["prompt"] for text in encodings[name].pairs.texts]
            for name, rows in self.splits.items()
        }
        splits = {}
        for name, rows in self.splits.items():
            found = SplitAccount(
                rows=rows.read,
                pairs=len(rows),
                left_out=rows.dropped,
                changed=rows.changed,
                near_training=0 if name == "train" else near(asked[name], asked["train"]),
                rendered=0 if encodings is None else self._rendered(asked[name]),
            )
            made = None if encodings is None else encodings[name]
            splits[name] = (
                found if made is None else found.after(made.dropped, made.changes.counts())
            )
        return Account(splits, self.splits_found())

    def _rendered(self, prompts: Sequence[Sequence[Message]]) -> int:
        """How many prompts hold rendered chat text, which is about to be rendered again."""
        return sum(map(rendered, prompts))

    def splits_found(self) -> list[str]:
        """Lines to print about splits that no setting names: which are used, and which are not."""
        return []

    def labelled(self, split: Split) -> Sequence[LabelledPair]:
        """The pairs of a split as texts."""
        rows = self.splits[split]
        return [
            LabelledPair(
                int(number), one.prompt, one.chosen, one.rejected, one.criterion, one.subset
            )
            for number, one in zip(rows.ids, rows.pairs, strict=True)
        ]

    def shares_training(self, other: "TextDataset") -> bool:
        """Whether a model trained on the other's rows may have seen training rows of this one, by
        their settings."""
        return type(self) is type(other) and (
            self.part == other.part or "all" in (self.part, other.part)
        )

    @cached_property
    def released(self) -> tuple[TextRows, TextRows]:
        """What `read` returned."""
        return self.read()

    @cached_property
    def _free(self) -> TextRows:
        """The training rows of the part whose prompts are not in the test split."""
        return self._part(self.part)

    def _part(self, part: str) -> TextRows:
        train, test = self.released
        rows = train.without(test.prompts, "dropped for a prompt of the test split")
        return of_part(rows, test, part)

    @cached_property
    def splits(self) -> dict[str, TextRows]:
        """The rows of train, validation and test."""
        train, validation = self._validated()
        return {
            "train": train.drawn("train", self.train_pairs),
            "validation": validation,
            "test": self.released[1].drawn("test", self.test_pairs),
        }

    def _validated(self) -> tuple[TextRows, TextRows]:
        """The rows for training and those of validation."""
        rows = self._free
        if self.part in VALIDATED_ON:
            other = self._part(VALIDATED_ON[self.part])
            other = replace(other, read=len(other), dropped=Counter())
            return rows, other.drawn("validation", self.validation_pairs)
        draw = seeding.uniform(0, "validation", rows.prompts)
        validation = rows.take(np.lexsort((rows.ids, draw))[: self.validation_pairs])
        # the last prompt may have more rows than wanted: those are in neither split
        rest = rows.without(validation.prompts, "taken for validation, whole prompts at a time")
        return rest, replace(validation, read=len(validation), dropped=Counter())

    def usable(self, split: Literal["train", "test"]) -> TextRows:
        """The usable rows of a split as released, each once."""
        return usable_rows(self.rows(split), self.pair, type(self).__name__, split)

    @cached_property
    def _encodings(self) -> list[tuple[Any, dict[str, Encoding]]]:
        """The last tokenizer and what it made of each split."""
        return []

    @cached_property
    def _tried(self) -> list[Any]:
        """Tokenizers that can write some pair of each split."""
        return []

    def _encoded(self, tokenizer: "PreTrainedTokenizerBase | None") -> dict[str, Encoding]:
        tokenizer = _needed(tokenizer)
        if not self._encodings or self._encodings[0][0] is not tokenizer:
            form = self.form(tokenizer)
            encodings = {split: self._read(rows, form) for split, rows in self.splits.items()}
            for split, made in encodings.items():
                if not len(made.pairs):
                    raise BadInput(
                        none_written(
                            split, len(self.splits[split]), made.dropped, tokenizer.name_or_path
                        )
                    )
            self._encodings[:] = [(tokenizer, encodings)]
        return self._encodings[0][1]

    def _read(self, rows: TextRows, form: ChatFormat) -> Encoding:
        made = encode(rows.pairs, rows.ids, form, self.max_length, self.max_prompt_length)
        made = distinct(made, form, self.max_length)
        return replace(made, pairs=self.described(made.pairs))


def _needed(tokenizer: "PreTrainedTokenizerBase | None") -> "PreTrainedTokenizerBase":
    if tokenizer is None:
        raise BadInput(
            "a data set of texts takes a tokenizer: use model=hub or hub_reward, or give "
            "model.tokenizer_path=FOLDER"
        )
    return tokenizer
