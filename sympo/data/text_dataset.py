"""Preference pairs of texts: two answers to one prompt, split once and for all.

The splits depend on the rows' content alone: every draw is keyed by a hash of a row or of its
prompt, so that rows may stand in any order, and a seed of the experiment does not move them. No
prompt is in two splits.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sympo import seeding
from sympo.data.chat_format import ChatFormat
from sympo.data.message_parsing import Unusable
from sympo.data.pair_encoding import Encoding, distinct, encode
from sympo.data.row_account import counted, near, rendered
from sympo.data.row_sources import Row
from sympo.data.text_pair import TEXTS, Message, TextPair, score_gaps
from sympo.ranges import Count
from sympo.types import (
    Account,
    BadInput,
    Encoded,
    PreferencePairs,
    Preferences,
    SplitAccount,
    TokenPairs,
    Vocabulary,
    chosen_over_rejected,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# of each split, to learn whether a tokenizer can write any
TRIED_FIRST = 64


@dataclass(frozen=True)
class Rows:
    """Usable rows of one split; n rows.

    ids, prompts: (n,) uint64, hashes of each row and of its prompt, the keys of every draw.
    read: how many rows they were read from; dropped: how many of those are not here, by reason.
    """

    pairs: Sequence[TextPair]
    ids: np.ndarray
    prompts: np.ndarray
    read: int
    dropped: Counter[str]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def changed(self) -> Counter[str]:
        """What was changed in reading these rows, by kind."""
        return Counter(note for pair in self.pairs for note in pair.notes)

    @property
    def preferences(self) -> PreferencePairs:
        """The pairs without their texts."""
        return chosen_over_rejected(self.ids, score_gap=score_gaps(self.pairs))

    def take(self, index: np.ndarray) -> "Rows":
        pairs = [self.pairs[i] for i in index]
        return Rows(pairs, self.ids[index], self.prompts[index], self.read, self.dropped)

    def without(self, prompts: np.ndarray, reason: str) -> "Rows":
        """The rows with other prompts than these; the rest counts as dropped."""
        kept = self.take(np.flatnonzero(~np.isin(self.prompts, prompts)))
        return replace(kept, dropped=self.dropped + Counter({reason: len(self) - len(kept)}))

    def drawn(self, name: str, size: int | None) -> "Rows":
        """At most `size` rows, in an order drawn by their content; all where size is None."""
        drawn = self.take(np.argsort(seeding.uniform(0, name, self.ids))[:size])
        more = Counter({f"more than dataset.{name}_pairs={size}": len(self) - len(drawn)})
        return replace(drawn, dropped=self.dropped + more)


@dataclass(frozen=True, kw_only=True)
class TextDataset(ABC):
    """Settings that every preference data set of texts shares; a new one says where its rows are
    (`rows`) and what one of them says (`pair`).

    path: where the data is, in the hub's own layout; None downloads it.
    train_pairs, test_pairs: at most how many; None takes all. validation_pairs: how many are taken
        out of the training rows, whole prompts at a time.
    max_length: of a prompt and its answer together, in tokens; max_prompt_length: of the prompt.
    """

    texts_hold: ClassVar = TEXTS
    # to be raised where pairs are read in another way: stages made before no longer count
    reading: ClassVar = 2
    # what becomes of prompts that hold rendered chat text, and what can be done about it
    on_rendered: ClassVar = "a chat template wraps it in one more turn"
    # pairs are not samples of the policy, and no true reward is known
    beside_corpus: ClassVar = frozenset({"test_pairs"})
    from_policy: ClassVar[bool] = False
    gold_reward: ClassVar[None] = None

    path: str | None = None
    train_pairs: Count | None = None
    validation_pairs: Count
    test_pairs: Count | None = None
    max_length: Count = 512
    max_prompt_length: Count = 256
    _encodings: list[tuple[Any, dict[str, Encoding]]] = field(
        default_factory=list, repr=False, compare=False
    )
    _tried: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def scored(self) -> bool:
        """Whether the labels came with scores, which say how close a pair is."""
        return False

    @abstractmethod
    def rows(self, split: str) -> Iterator[Row]:
        """The rows of "train" or "test" as released; BadInput where they cannot be read."""

    @abstractmethod
    def pair(self, row: dict[str, Any]) -> TextPair:
        """What a row says; Unusable where it carries no preference, BadInput where it is broken."""

    def read(self) -> tuple[Rows, Rows]:
        """The usable rows of the training and of the test split."""
        return self.usable("train"), self.usable("test")

    def check(self) -> None:
        """Refuse settings and data that cannot work, before any cell starts."""
        for key in ("train_pairs", "validation_pairs", "test_pairs", "max_prompt_length"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise BadInput(f"dataset.{key}={value} must be at least 1")
        if self.max_length <= self.max_prompt_length:
            raise BadInput(
                f"dataset.max_length={self.max_length} must be above dataset.max_prompt_length="
                f"{self.max_prompt_length}, or there is no room for an answer"
            )
        for split, rows in zip(("train", "test"), self.released, strict=True):
            if not len(rows):
                raise BadInput(_none_usable(split, rows))
        if not len(self._free):
            raise BadInput(_none_usable("train", self._free))
        if not len(self.splits["train"]):
            raise BadInput(
                f"dataset.validation_pairs={self.validation_pairs} leaves none to train on of the "
                f"{len(self._free)} usable training rows, of {self._free.read} read; ask for fewer"
                + "".join(f"; {words}" for words in counted(self._free.dropped))
            )

    def check_tokenizer(self, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        """Refuse a tokenizer that cannot write any pair of a split, before any cell starts."""
        tokenizer = _needed(tokenizer)
        if not any(tokenizer is one for one in self._tried):
            form = self.form(tokenizer)
            few = np.arange(TRIED_FIRST)
            firsts = (rows.take(few[: len(rows)]) for rows in self.splits.values())
            if not all(len(self._read(rows, form).pairs) for rows in firsts):
                self._encoded(tokenizer)
            self._tried.append(tokenizer)

    def form(self, tokenizer: "PreTrainedTokenizerBase") -> ChatFormat:
        """How prompts and answers are written as text."""
        return ChatFormat(tokenizer)

    def fingerprint(self) -> str:
        """A hash of the data's content, which stands for its path in a cell's identity."""
        digest = hashlib.blake2b(digest_size=8)
        for rows in self.released:
            digest.update(np.sort(rows.ids).tobytes() + len(rows).to_bytes(8, "big"))
            # a noise model may read the scores, which no id holds
            if (gaps := score_gaps(rows.pairs)) is not None:
                digest.update(gaps[np.argsort(rows.ids)].tobytes())
        return digest.hexdigest()

    def vocabulary(self, tokenizer: "PreTrainedTokenizerBase | None") -> Vocabulary:
        """The token ids of a policy that speaks through this tokenizer."""
        tokenizer = _needed(tokenizer)
        eos = self.form(tokenizer).eos
        fillers = (tokenizer.pad_token_id, tokenizer.unk_token_id, eos)
        pad = next(token for token in fillers if token is not None)
        return Vocabulary(len(tokenizer), tokenizer.bos_token_id, eos, pad)

    def corpus(self, tokenizer: "PreTrainedTokenizerBase | None") -> Encoded:
        """What supervised fine-tuning learns: the chosen answers of the training pairs, clean."""
        return self._encoded(tokenizer)["train"].pairs.chosen

    def preferences(
        self, seed: int, tokenizer: "PreTrainedTokenizerBase | None", sample: object
    ) -> Preferences:
        """The clean splits; they depend on neither the seed nor samples of the policy."""
        encodings = self._encoded(tokenizer)
        splits = {split: made.pairs for split, made in encodings.items()}
        return Preferences(**splits, account=self.account(encodings))

    def answered(
        self,
        dialogues: Sequence[Sequence[Mapping[str, str]]],
        first: Sequence[str],
        second: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase | None",
        max_length: int,
    ) -> TokenPairs:
        """Two answers to each prompt, given as texts, as a model reads them.

        max_length: of a prompt and its answer, in tokens; the prompt gives way to the answer, down
        to half of it. `pairs.ids` are the places of those that the chat template takes.
        """
        tokenizer = _needed(tokenizer)
        pairs = [
            TextPair([dict(message) for message in dialogue], one, other)
            for dialogue, one, other in zip(dialogues, first, second, strict=True)
        ]
        places = np.arange(len(pairs), dtype=np.uint64)
        form = self.form(tokenizer)
        sizes = [[len(ids) for ids in form.ids(list(side))] for side in (first, second)]
        # each pair by itself: what else is asked must not change it
        room = max_length - np.max(sizes, axis=0, initial=0) - len(form.lead) - len(form.end)
        room = np.clip(room, max_length // 2, max_length - len(form.end) - 1)
        return encode(pairs, places, form, max_length, room).pairs

    def text(self, ids: Sequence[int] | np.ndarray, tokenizer: "PreTrainedTokenizerBase") -> str:
        """An answer's token ids as text, without special tokens."""
        return self.form(tokenizer).decode(ids)

    def account(self, encodings: Mapping[str, Encoding] | None = None) -> Account:
        """What became of every row: as encoded for a model, or as it is where none is given."""
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
        """How many prompts hold rendered chat text that is about to be rendered once more."""
        return sum(map(rendered, prompts))

    def splits_found(self) -> list[str]:
        """Lines to print of splits that no setting names: which are used, and which are not."""
        return []

    @cached_property
    def released(self) -> tuple[Rows, Rows]:
        return self.read()

    @cached_property
    def _free(self) -> Rows:
        """The training rows whose prompts are not in the test split."""
        train, test = self.released
        return train.without(test.prompts, "dropped for a prompt of the test split")

    @cached_property
    def splits(self) -> dict[str, Rows]:
        """The rows of train, validation and test."""
        train, test = self._free, self.released[1]
        draw = seeding.uniform(0, "validation", train.prompts)
        validation = train.take(np.lexsort((train.ids, draw))[: self.validation_pairs])
        # the last prompt may have had more rows than were wanted: they are in neither split
        rest = train.without(validation.prompts, "taken for validation, whole prompts at a time")
        return {
            "train": rest.drawn("train", self.train_pairs),
            "validation": replace(validation, read=len(validation), dropped=Counter()),
            "test": test.drawn("test", self.test_pairs),
        }

    def usable(self, split: str) -> Rows:
        """The usable rows of a split as released, each once."""
        pairs: dict[int, TextPair] = {}
        prompts: list[int] = []
        read, dropped = 0, Counter[str]()
        for where, row in self.rows(split):
            read += 1
            try:
                pair = _with_answers(self.pair(row))
                number, prompt = _hash(_said(pair)), _hash(pair.prompt)
            except Unusable as reason:
                dropped[f"dropped for {reason}"] += 1
            except BadInput as error:
                raise BadInput(f"{where}: {error}") from error
            else:
                if number in pairs:
                    dropped["dropped for being a copy of another row"] += 1
                else:
                    pairs[number] = pair
                    prompts.append(prompt)
        ids = np.array(list(pairs), dtype=np.uint64)
        return Rows(list(pairs.values()), ids, np.array(prompts, dtype=np.uint64), read, dropped)

    def _encoded(self, tokenizer: "PreTrainedTokenizerBase | None") -> dict[str, Encoding]:
        tokenizer = _needed(tokenizer)
        if not self._encodings or self._encodings[0][0] is not tokenizer:
            form = self.form(tokenizer)
            encodings = {split: self._read(rows, form) for split, rows in self.splits.items()}
            for split, made in encodings.items():
                if not len(made.pairs):
                    raise BadInput(_none_written(split, len(self.splits[split]), made, tokenizer))
            self._encodings[:] = [(tokenizer, encodings)]
        return self._encodings[0][1]

    def _read(self, rows: Rows, form: ChatFormat) -> Encoding:
        made = encode(rows.pairs, rows.ids, form, self.max_length, self.max_prompt_length)
        return distinct(made, form, self.max_length)


def _with_answers(pair: TextPair) -> TextPair:
    if not any(message["content"].strip() for message in pair.prompt):
        raise Unusable("an empty prompt")
    if not (pair.chosen.strip() and pair.rejected.strip()):
        raise Unusable("an empty answer")
    if pair.chosen == pair.rejected:
        raise Unusable("two equal answers")
    return pair


def _said(pair: TextPair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def _hash(content: Any) -> int:
    try:
        text = json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"its text is not Unicode, {error.reason}") from error
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _needed(tokenizer: "PreTrainedTokenizerBase | None") -> "PreTrainedTokenizerBase":
    if tokenizer is None:
        raise BadInput(
            "this data set is text, which takes a tokenizer: use model=hub or hub_reward, or give "
            "model.tokenizer_path=FOLDER"
        )
    return tokenizer


def _none_usable(split: str, rows: Rows) -> str:
    why = ", ".join(counted(rows.dropped)) or "there are none"
    return f"dataset: none of the {rows.read} {split} rows is usable: {why}"


def _none_written(split: str, count: int, made: Encoding, tokenizer: Any) -> str:
    why = ", ".join(counted(made.dropped))
    other = "; give a model or a tokenizer with another chat template"
    return (
        f"dataset: the tokenizer {tokenizer.name_or_path} leaves none of the {count} {split} "
        f"pairs: {why}{other if 'chat template' in why else ''}"
    )
