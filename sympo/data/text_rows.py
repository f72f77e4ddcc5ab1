"""From the rows of a split to its usable pairs, each once, and a count of the others."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from sympo import seeding
from sympo.data.message_parsing import Unusable, short
from sympo.data.row_sources import PlacedRow
from sympo.data.text_pair import (
    TextPair,
    annotators,
    disputes,
    length_gaps,
    probabilities,
    score_gaps,
    sources,
)
from sympo.types import BadInput, PreferencePairs, chosen_over_rejected

COLUMNS_SHOWN = 20


@dataclass(frozen=True)
class TextRows:
    """Usable rows of one split; n rows.

    ids, prompts: (n,) uint64, hashes of each row and of its prompt, the keys of every draw.
    read: how many rows were read; dropped: how many of those are not here, by reason.
    places: where each row was read, "FILE row 12", by its id; also of rows that are not here.
    """

    pairs: Sequence[TextPair]
    ids: np.ndarray
    prompts: np.ndarray
    read: int
    dropped: Counter[str]
    places: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def changed(self) -> Counter[str]:
        """What was changed in reading these rows, by kind."""
        return Counter(note for pair in self.pairs for note in pair.notes)

    @cached_property
    def preferences(self) -> PreferencePairs:
        """The pairs without their texts; lengths in characters."""
        pairs = chosen_over_rejected(
            self.ids,
            score_gap=score_gaps(self.pairs),
            disputed=disputes(self.pairs),
            probability=probabilities(self.pairs),
        )
        return replace(
            pairs,
            length_gap=length_gaps(self.pairs),
            source=sources(self.pairs),
            annotator=annotators(self.pairs),
        )

    def take(self, index: np.ndarray) -> "TextRows":
        """Some rows, in the order of the index."""
        pairs = [self.pairs[i] for i in index]
        return replace(self, pairs=pairs, ids=self.ids[index], prompts=self.prompts[index])

    def without(self, prompts: np.ndarray, reason: str) -> "TextRows":
        """The rows with other prompts than these; the rest counts as dropped."""
        kept = self.take(np.flatnonzero(~np.isin(self.prompts, prompts)))
        return replace(kept, dropped=self.dropped + Counter({reason: len(self) - len(kept)}))

    def drawn(self, name: str, size: int | None) -> "TextRows":
        """At most `size` rows, in an order drawn by their content; size=None takes all."""
        drawn = self.take(np.argsort(seeding.uniform(0, name, self.ids))[:size])
        more = Counter({f"more than dataset.{name}_pairs={size}": len(self) - len(drawn)})
        return replace(drawn, dropped=self.dropped + more)


def usable_rows(
    rows: Iterable[object], pair: Callable[[dict[str, Any]], TextPair], source: str, split: str
) -> TextRows:
    """The usable rows of a split, each once.

    rows: dicts, or PlacedRow; pair: from a row to a pair; source: the data set's class, for errors.
    Raises BadInput that names the row if it is broken, and the class if `rows` or `pair` gives
    something else.
    """
    if not isinstance(rows, Iterable):
        raise BadInput(
            f"{source}.rows({split!r}) returned {short(rows)}; it must yield the rows of the "
            "split, each a dict from column to value"
        )
    pairs: dict[int, TextPair] = {}
    places: dict[int, str] = {}
    prompts: list[int] = []
    read, dropped = 0, Counter[str]()
    for read, one in enumerate(rows, 1):
        where, row = _placed(one, source, split, read)
        try:
            made = _answering(_checked(pair(row), source))
            number, prompt = content_hash(_content(made)), content_hash(made.prompt)
        except Unusable as reason:
            dropped[f"dropped for {reason}"] += 1
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from error
        except KeyError as error:
            held = ", ".join(list(map(str, row))[:COLUMNS_SHOWN])
            raise BadInput(f"{where}: {source}.pair needs {error}; the row has {held}") from error
        else:
            if number in pairs:
                dropped["dropped for being a copy of another row"] += 1
            else:
                pairs[number], places[number] = made, where
                prompts.append(prompt)
    ids = np.array(list(pairs), dtype=np.uint64)
    keys = np.array(prompts, dtype=np.uint64)
    return TextRows(list(pairs.values()), ids, keys, read, dropped, places)


def _placed(one: object, source: str, split: str, number: int) -> tuple[str, dict[str, Any]]:
    match one:
        case PlacedRow(where, row):
            return where, row
        case Mapping():
            return f"{source} {split} row {number}", dict(one)
        case (str(where), Mapping() as row):
            return where, dict(row)
    raise BadInput(
        f"{source}.rows({split!r}) yielded {short(one)} as row {number}; each row must be a dict "
        "from column to value"
    )


def _checked(made: object, source: str) -> TextPair:
    if not isinstance(made, TextPair):
        raise BadInput(
            f"{source}.pair returned {short(made)}; it must return TextPair(prompt, chosen, "
            "rejected)"
        )
    if not (isinstance(made.prompt, list) and all(map(_is_message, made.prompt))):
        raise BadInput(
            f"{source}.pair returned the prompt {short(made.prompt)}; it must be a list of "
            "messages, such as [{'role': 'user', 'content': 'Hi'}]"
        )
    for side in (made.chosen, made.rejected):
        if not isinstance(side, str):
            raise BadInput(
                f"{source}.pair returned the response {short(side)}; it must be of type str"
            )
    return made


def _is_message(found: object) -> bool:
    return isinstance(found, Mapping) and "role" in found and isinstance(found.get("content"), str)


def _answering(pair: TextPair) -> TextPair:
    if not any(message["content"].strip() for message in pair.prompt):
        raise Unusable("an empty prompt")
    if not (pair.chosen.strip() and pair.rejected.strip()):
        raise Unusable("an empty answer")
    if pair.chosen == pair.rejected:
        raise Unusable("two equal answers")
    return pair


def _content(pair: TextPair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def content_hash(content: Any) -> int:
    """A 64-bit hash of a JSON value; raises BadInput if its text is not Unicode."""
    try:
        text = json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"its text is not Unicode, {error.reason}") from error
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
