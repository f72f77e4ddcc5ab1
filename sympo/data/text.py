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
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sympo import seeding
from sympo.data.encoding import ChatFormat, Encoding, Message, TextPair, encode
from sympo.data.files import Row
from sympo.ranges import Count
from sympo.types import BadInput, Encoded, Preferences, TokenPairs, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("system", "user", "assistant")


class Unusable(Exception):
    """A row that is in order but carries no preference: it is dropped and counted by reason."""


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

    def take(self, index: np.ndarray) -> "Rows":
        pairs = [self.pairs[i] for i in index]
        return Rows(pairs, self.ids[index], self.prompts[index], self.read, self.dropped)

    def without(self, prompts: np.ndarray, reason: str) -> "Rows":
        """The rows with other prompts than these; the rest counts as dropped."""
        kept = self.take(np.flatnonzero(~np.isin(self.prompts, prompts)))
        return replace(kept, dropped=self.dropped + Counter({reason: len(self) - len(kept)}))

    def drawn(self, name: str, size: int | None) -> "Rows":
        """At most `size` rows, in an order drawn by their content; all where size is None."""
        return self.take(np.argsort(seeding.uniform(0, name, self.ids))[:size])


@dataclass(frozen=True, kw_only=True)
class TextDataset(ABC):
    """Settings that every preference data set of texts shares; a new one says where its rows are
    (`rows`) and what one of them says (`pair`).

    path: where the data is, in the hub's own layout; None downloads it.
    train_pairs, test_pairs: at most how many; None takes all. validation_pairs: how many are taken
        out of the training rows, whole prompts at a time.
    max_length: of a prompt and its answer together, in tokens; max_prompt_length: of the prompt.
    """

    # what is kept of a pair for people and judges
    texts_hold: ClassVar = tuple(one.name for one in fields(TextPair))
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
                raise BadInput(f"dataset.path: none of the {rows.read} {split} rows is usable")
        if not len(self.splits["train"]):
            raise BadInput(
                f"dataset.validation_pairs={self.validation_pairs} leaves none of the "
                f"{len(self.released[0])} usable training rows to train on; ask for fewer"
            )

    def fingerprint(self) -> str:
        """A hash of the data's content, which stands for its path in a cell's identity."""
        digest = hashlib.blake2b(digest_size=8)
        for rows in self.released:
            digest.update(np.sort(rows.ids).tobytes() + len(rows).to_bytes(8, "big"))
        return digest.hexdigest()

    def vocabulary(self, tokenizer: "PreTrainedTokenizerBase | None") -> Vocabulary:
        """The token ids of a policy that speaks through this tokenizer."""
        tokenizer = _needed(tokenizer)
        eos = ChatFormat(tokenizer).eos
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
        return Preferences(**{split: encoding.pairs for split, encoding in encodings.items()})

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
        form = ChatFormat(tokenizer)
        sizes = [[len(ids) for ids in form.ids(list(side))] for side in (first, second)]
        # each pair by itself: what else is asked must not change it
        room = max_length - np.max(sizes, axis=0, initial=0) - len(form.lead) - len(form.end)
        room = np.clip(room, max_length // 2, max_length - len(form.end) - 1)
        return encode(pairs, places, tokenizer, max_length, room).pairs

    def text(self, ids: Sequence[int] | np.ndarray, tokenizer: "PreTrainedTokenizerBase") -> str:
        """An answer's token ids as text, without special tokens."""
        return ChatFormat(tokenizer).decode(ids)

    def summary(self, tokenizer: "PreTrainedTokenizerBase | None") -> list[str]:
        """Lines to print: the pairs of each split, and what was dropped and what truncated."""
        train, test = self.splits["train"], self.splits["test"]
        return [
            *(
                "; ".join([f"{name}: {rows.read} rows read", *_counted(rows.dropped)])
                for name, rows in (("train", train), ("test", test))
            ),
            *(
                "; ".join([f"{split}: {len(made.pairs)} pairs", *_counted(_changes(made))])
                for split, made in self._encoded(tokenizer).items()
            ),
        ]

    @cached_property
    def released(self) -> tuple[Rows, Rows]:
        return self.read()

    @cached_property
    def splits(self) -> dict[str, Rows]:
        """The rows of train, validation and test."""
        train, test = self.released
        train = train.without(test.prompts, "dropped for a prompt of the test split")
        draw = seeding.uniform(0, "validation", train.prompts)
        validation = train.take(np.lexsort((train.ids, draw))[: self.validation_pairs])
        # the last prompt may have had more rows than were wanted: they are in neither split
        rest = train.without(validation.prompts, "taken for validation with their prompts")
        return {
            "train": rest.drawn("train", self.train_pairs),
            "validation": validation,
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
                    dropped["dropped for standing there twice"] += 1
                else:
                    pairs[number] = pair
                    prompts.append(prompt)
        ids = np.array(list(pairs), dtype=np.uint64)
        return Rows(list(pairs.values()), ids, np.array(prompts, dtype=np.uint64), read, dropped)

    def _encoded(self, tokenizer: "PreTrainedTokenizerBase | None") -> dict[str, Encoding]:
        tokenizer = _needed(tokenizer)
        if not self._encodings or self._encodings[0][0] is not tokenizer:
            lengths = self.max_length, self.max_prompt_length
            encodings = {
                split: encode(rows.pairs, rows.ids, tokenizer, *lengths)
                for split, rows in self.splits.items()
            }
            for split, made in encodings.items():
                if not len(made.pairs):
                    raise BadInput(
                        f"dataset.max_prompt_length={self.max_prompt_length}: none of the {split} "
                        "prompts fits in, or the tokenizer's chat template refuses them all"
                    )
            self._encodings[:] = [(tokenizer, encodings)]
        return self._encodings[0][1]


def value(row: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """A row's value under a key; BadInput where it is missing or of another type."""
    if key not in row:
        raise BadInput(f"{key} is missing; the row has {', '.join(row) or 'nothing'}")
    # bool is a kind of int, and no number here
    if not isinstance(row[key], kinds) or isinstance(row[key], bool):
        wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise BadInput(f"{key}={_short(row[key])} must be of type {wanted}")
    return row[key]


def messages(row: Mapping[str, Any], key: str) -> list[Message]:
    """A row's list of messages under a key, each with its role and content only."""
    found = []
    for number, message in enumerate(value(row, key, list), 1):
        if not isinstance(message, Mapping):
            raise BadInput(f"message {number} of {key}, {_short(message)}, must be of type dict")
        try:
            role, content = value(message, "role", str), value(message, "content", str)
        except BadInput as error:
            raise BadInput(f"in message {number} of {key}, {error}") from error
        if role not in ROLES:
            raise BadInput(
                f"in message {number} of {key}, role={role!r} is not one of {', '.join(ROLES)}"
            )
        found.append({"role": role, "content": content})
    return found


def dialogue_pair(chosen: list[Message], rejected: list[Message]) -> TextPair:
    """Two whole dialogues as a pair: the prompt is what comes before the last message.

    Unusable where a dialogue does not end with the assistant or the two prompts differ.
    """
    if not all(turns and turns[-1]["role"] == "assistant" for turns in (chosen, rejected)):
        raise Unusable("no answer of the assistant at the end")
    if chosen[:-1] != rejected[:-1]:
        raise Unusable("two different prompts")
    return TextPair(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"])


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
        raise BadInput(f"its text is no Unicode, {error.reason}") from error
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _short(content: Any) -> str:
    return text if len(text := repr(content)) <= 60 else f"{text[:57]}..."


def _needed(tokenizer: "PreTrainedTokenizerBase | None") -> "PreTrainedTokenizerBase":
    if tokenizer is None:
        raise BadInput(
            "this data set is text, which takes a tokenizer: use model=hub or hub_reward, or give "
            "model.tokenizer_path=FOLDER"
        )
    return tokenizer


def _changes(made: Encoding) -> dict[str, int]:
    return {
        "prompts lost their oldest turns": made.shortened,
        "prompts lost the oldest tokens of their newest turn": made.cut,
        "answers lost their end": made.answers,
        "pairs lost special tokens in their text": made.cleaned,
        "pairs left out, refused by the chat template or too long": made.refused,
    }


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{count} {what}" for what, count in counts.items() if count]
