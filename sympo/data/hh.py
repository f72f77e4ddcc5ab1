"""Anthropic's HH: which of two answers people found more helpful, or less harmful."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sympo.data.message_parsing import Unusable, dialogue_pair, value
from sympo.data.row_sources import Row, file_rows, folder, hub_rows, split_files
from sympo.data.text_dataset import TextDataset
from sympo.data.text_pair import Message, TextPair
from sympo.types import BadInput

HUB = "Anthropic/hh-rlhf"
SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
CRITERIA = {"harmless-base": "harmless"}  # in all the others the more helpful answer was chosen
ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True, kw_only=True)
class HH(TextDataset):
    """Dialogues of people with an assistant, whose last answer was given twice.

    path: a folder that holds `SUBSET/{train,test}.jsonl.gz`.
    subsets: some of SUBSETS; None takes all, or all that the folder holds.
    Source: Bai et al. (2022), arXiv 2204.05862.
    """

    subsets: list[str] | None = field(default=None, hash=False)

    def rows(self, split: str) -> Iterator[Row]:
        for subset in self._chosen():
            if self.path is None:
                found = hub_rows(HUB, split, data_dir=subset)
            else:
                found = file_rows(split_files(folder(self.path) / subset, split))
            for where, row in found:
                yield where, {**row, "subset": subset}

    def pair(self, row: dict[str, Any]) -> TextPair:
        chosen, rejected = value(row, "chosen", str), value(row, "rejected", str)
        pair = dialogue_pair(dialogue(chosen), dialogue(rejected))
        return replace(pair, criterion=CRITERIA.get(row["subset"], "helpful"))

    def _chosen(self) -> list[str]:
        wanted = list(SUBSETS) if self.subsets is None else self.subsets
        for subset in wanted:
            if subset not in SUBSETS:
                raise BadInput(f"dataset.subsets: {subset!r} is not one of {', '.join(SUBSETS)}")
        if self.subsets is None and self.path is not None:
            place = folder(self.path)
            wanted = [subset for subset in SUBSETS if (place / subset).is_dir()]
            if not wanted:
                raise BadInput(
                    f"dataset.path: {place.absolute()} holds none of the folders "
                    f"{', '.join(SUBSETS)}"
                )
        if not wanted:
            raise BadInput(f"dataset.subsets=[] must name some of {', '.join(SUBSETS)}")
        return wanted


def dialogue(text: str) -> list[Message]:
    """The messages of a dialogue in HH's format; Unusable where it does not begin with a turn."""
    before, *turns = TURN.split(text)
    if before or not turns:
        raise Unusable("text that is no dialogue")
    return [
        {"role": ROLES[speaker], "content": said.removeprefix(" ")}
        for speaker, said in zip(turns[0::2], turns[1::2], strict=True)
    ]
