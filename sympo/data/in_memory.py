"""Preference pairs of texts that are in memory already."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sympo.data.preference_columns import PreferenceColumns
from sympo.ranges import Count


@dataclass(frozen=True, kw_only=True)
class TextPairs(PreferenceColumns):
    """Rows in memory, `TextPairs([{"prompt": "Hi", "chosen": "Hello!", "rejected": "No."}, ...])`.

    train, test: rows, each a dict from column to value, read as `dataset=preferences` reads the
        rows of a file: strings or messages, other columns by PreferenceColumns' settings. test=None
        takes `test_share` of the training prompts.
    """

    identity: ClassVar[str] = "text_pairs"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"train", "test"})

    train: Sequence[Mapping[str, Any]] = field(kw_only=False, repr=False, hash=False)
    test: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False, hash=False)
    test_pairs: Count | None = None

    def __post_init__(self) -> None:
        for name in ("train", "test"):  # a copy: what is trained on later is what is here now
            if (rows := getattr(self, name)) is not None:
                object.__setattr__(self, name, copy.deepcopy(list(rows)))

    @property
    def has_test(self) -> bool:
        return self.test is not None

    def rows(self, split: Literal["train", "test"]) -> Iterable[Mapping[str, Any]]:
        return self.train if split == "train" else self.test or ()
