"""Anthropic's HH: which of two responses people found more helpful, or less harmful."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from sympo.data.message_parsing import Unusable, dialogue_pair, value
from sympo.data.row_sources import PlacedRow, file_rows, folder, hub_rows, split_files
from sympo.data.text_dataset import TextDataset
from sympo.data.text_pair import Message, TextPair
from sympo.types import BadArgument

HUB = "Anthropic/hh-rlhf"
SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
CRITERIA = {"harmless-base": "harmless"}  # in the others the more helpful response was chosen
ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")
# SHA-256 of a copy in circulation -> how many of its first rows are surely of its subset; the rest
# was sampled from all four
MIXTURES = {"e6fc1828c00a0bc45b569b5e6aeec4df0a1736fb80669dbbc959d6098c2eda67": 436}
MIXED = "rows from a mixture of HH's subsets, possibly of another one than their folder says"


@dataclass(frozen=True, kw_only=True)
class HH(TextDataset):
    """Dialogues of people with an assistant, each with two final responses.

    path: a folder that holds `SUBSET/{train,test}.jsonl.gz`; None downloads them.
    subsets: some of SUBSETS; None takes all, or all that the folder holds.
    Source: Bai et al. (2022), arXiv 2204.05862.
    """

    identity: ClassVar[str] = "hh"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str | None = None
    subsets: list[str] | None = field(default=None, hash=False)

    def rows(self, split: Literal["train", "test"]) -> Iterator[PlacedRow]:
        for subset in self._chosen():
            sure = None
            if self.path is None:
                found = hub_rows(HUB, split, data_dir=subset)
            else:
                files = split_files(folder(self.path) / subset, split)
                found, sure = file_rows(files), MIXTURES.get(_digest(files[0]))
            for number, (where, row) in enumerate(found):
                mixed = sure is not None and number >= sure
                yield PlacedRow(where, {**row, "subset": subset, "mixed": mixed})

    def pair(self, row: dict[str, Any]) -> TextPair:
        chosen, rejected = value(row, "chosen", str), value(row, "rejected", str)
        pair = dialogue_pair(dialogue(chosen), dialogue(rejected))
        criterion = CRITERIA.get(row["subset"], "helpful")
        notes = (MIXED,) * row["mixed"]
        return replace(pair, criterion=criterion, notes=notes, subset=row["subset"])

    @property
    def sourced(self) -> bool:
        return True

    def shares_training(self, other: TextDataset) -> bool:
        apart = isinstance(other, HH) and not set(self._wanted) & set(other._wanted)
        return super().shares_training(other) and not apart

    @property
    def _wanted(self) -> Sequence[str]:
        return SUBSETS if self.subsets is None else self.subsets

    def _chosen(self) -> list[str]:
        wanted = list(SUBSETS) if self.subsets is None else self.subsets
        for subset in wanted:
            if subset not in SUBSETS:
                raise BadArgument(
                    "subsets",
                    wanted,
                    f"contains {subset!r}, which is not one of {', '.join(SUBSETS)}",
                )
        if self.subsets is None and self.path is not None:
            place = folder(self.path)
            wanted = [subset for subset in SUBSETS if (place / subset).is_dir()]
            if not wanted:
                raise BadArgument(
                    "path", place.absolute(), f"holds none of the folders {', '.join(SUBSETS)}"
                )
        if not wanted:
            raise BadArgument("subsets", "[]", f"must name some of {', '.join(SUBSETS)}")
        return wanted


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def dialogue(text: str) -> list[Message]:
    """The messages of a dialogue in HH's format; raises Unusable if it has no turns."""
    before, *turns = TURN.split(text)
    if before or not turns:
        raise Unusable("text that is no dialogue")
    return [
        {"role": ROLES[speaker], "content": said.removeprefix(" ")}
        for speaker, said in zip(turns[0::2], turns[1::2], strict=True)
    ]
