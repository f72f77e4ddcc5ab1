"""Any preference data set of texts: local files or a set on the hub, in the forms they come in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sympo import seeding
from sympo.data.chat_format import ChatFormat, RawFormat
from sympo.data.message_parsing import Unusable, dialogue_pair, has_thoughts, value
from sympo.data.pair_columns import (
    Said,
    answers,
    dialogue,
    gap,
    joined,
    said,
    with_system,
    without_prompt,
)
from sympo.data.row_sources import (
    SUFFIXES,
    Row,
    file_rows,
    held_splits,
    hub_rows,
    hub_splits,
    located,
    split_files,
)
from sympo.data.text_dataset import Rows, TextDataset
from sympo.data.text_pair import Message, TextPair
from sympo.ranges import Range
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# what people call rows that are kept out of training for something else than the test
OTHER_SPLITS = ("validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True, kw_only=True)
class PreferenceSet(TextDataset):
    """Rows with a prompt, a chosen and a rejected answer, as strings or as messages.

    path: the file of the training rows, or a folder of files that are called by their split.
    name: a data set on the hub instead.
    train, test: the names of the splits; for a single file, `test` names another file. Without
        `test`, it is the own test split of a folder or of a set on the hub, else `test_share` of
        the training prompts.
    prompt: the column of the prompt; None takes from two whole dialogues all but the last message.
    input: a column that is added to the prompt after a blank line; system: of a system message.
    chosen, rejected: the columns of the answers: a string, the assistant's message, or the whole
        dialogue. A column inside another one is written `outer.inner`.
    score_chosen, score_rejected: columns of the answers' scores, from which a noise model may know
        how close a pair is. The label stays that of the columns.
    raw_prompts: take prompts, which must be strings, as they are, without a chat template.
    """

    on_rendered: ClassVar = (
        f"{TextDataset.on_rendered}; dataset.raw_prompts=true takes such prompts as they are"
    )

    name: str | None = None
    train: str = "train"
    test: str | None = None
    test_share: Annotated[float, Range(above=0, below=1)] = 0.1
    prompt: str | None = "prompt"
    input: str | None = None
    system: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    raw_prompts: bool = False
    score_chosen: str | None = None
    score_rejected: str | None = None

    def form(self, tokenizer: "PreTrainedTokenizerBase") -> ChatFormat:
        return RawFormat(tokenizer) if self.raw_prompts else super().form(tokenizer)

    def _rendered(self, prompts: Sequence[Sequence[Message]]) -> int:
        return 0 if self.raw_prompts else super()._rendered(prompts)

    def check(self) -> None:
        if (self.path is None) == (self.name is None):
            raise BadInput(
                f"dataset.path={self.path} and dataset.name={self.name}: give either path, a local "
                f"file or folder, or name, a data set on the hub"
            )
        if not 0 < self.test_share < 1:
            raise BadInput(f"dataset.test_share={self.test_share} must lie in (0, 1)")
        for key, usable in (("prompt", self.prompt is not None), ("system", self.system is None)):
            if self.raw_prompts and not usable:
                raise BadInput(
                    f"dataset.raw_prompts=true is not allowed with dataset.{key}="
                    f"{getattr(self, key) or 'null'}: it takes prompts that are strings as they are"
                )
        if self.input is not None and self.prompt is None:
            raise BadInput(
                f"dataset.input={self.input} is added to a prompt, and dataset.prompt=null has none"
            )
        if (self.score_chosen is None) != (self.score_rejected is None):
            raise BadInput(
                f"dataset.score_chosen={self.score_chosen} and dataset.score_rejected="
                f"{self.score_rejected}: give both columns or neither"
            )
        super().check()

    @property
    def scored(self) -> bool:
        return self.score_chosen is not None

    def read(self) -> tuple[Rows, Rows]:
        if self.test_split is not None:
            return super().read()
        rows = self.usable("train")
        share = seeding.uniform(0, "test", rows.prompts) < self.test_share
        if len(rows) and not share.any():
            raise BadInput(
                f"dataset.test_share={self.test_share} takes none of the {len(rows)} usable rows "
                "for the test split; ask for more"
            )
        test = replace(rows.take(np.flatnonzero(share)), read=int(share.sum()), dropped=Counter())
        return rows.without(test.prompts, "taken for the test split"), test

    @cached_property
    def test_split(self) -> str | None:
        """The name of the test split, set or found; None where it is a share of the prompts."""
        if self.test is not None:
            return self.test
        held = self._held
        if "train" in self.train and (own := self.train.replace("train", "test")) in held:
            return own
        found = [split for split in held if split.startswith("test") and split != self.train]
        if len(found) > 1:
            raise BadInput(
                f"dataset.test=null: {self.path or self.name} has the test splits "
                f"{', '.join(found)}; set dataset.test to one of them"
            )
        return found[0] if found else None

    def rows(self, split: str) -> Iterator[Row]:
        wanted = self.train if split == "train" else self.test_split
        assert wanted is not None
        if self.path is None:
            assert self.name is not None
            return hub_rows(self.name, wanted)
        path = located(self.path)
        if path.is_dir():
            return file_rows(split_files(path, wanted))
        return file_rows([_readable(path if split == "train" else path.parent / wanted)])

    def pair(self, row: dict[str, Any]) -> TextPair:
        pair = self._whole(row) if self.prompt is None else self._answered(row, self.prompt)
        notes = list(pair.notes)
        if self.system is not None:
            pair = with_system(pair, value(row, self.system, str, type(None)))
        if any(has_thoughts(row, key) for key in (self.prompt, self.chosen, self.rejected) if key):
            notes.append("rows with thoughts beside what a message says, which were left out")
        distance = None
        if self.score_chosen is not None and self.score_rejected is not None:
            distance = gap(row, self.score_chosen, self.score_rejected)
            if distance < 0:
                notes.append(
                    "rows whose rejected answer has the higher score; they keep their label"
                )
        return replace(pair, gap=None if distance is None else abs(distance), notes=tuple(notes))

    def _whole(self, row: dict[str, Any]) -> TextPair:
        return dialogue_pair(dialogue(row, self.chosen), dialogue(row, self.rejected))

    def _answered(self, row: dict[str, Any], key: str) -> TextPair:
        try:
            prompt = self._prompt(row, key)
        except BadInput as error:
            whole = key not in row and isinstance(row.get(self.chosen), list)
            hint = "; dataset.prompt=null takes it from two whole dialogues" if whole else ""
            raise BadInput(f"{error}{hint}") from error
        chosen, rejected = said(row, self.chosen), said(row, self.rejected)
        if self.input is not None:
            prompt = joined(prompt, value(row, self.input, str, type(None)), key)
        cut = without_prompt(prompt, chosen, rejected)
        pair = answers(prompt, *cut)
        if cut == (chosen, rejected):
            return pair
        pair = replace(pair, notes=("rows whose answers began with the prompt, which was cut",))
        if self.raw_prompts:
            return pair
        # what parted the answer from the prompt is the chat template's to write
        return replace(pair, chosen=pair.chosen.lstrip(), rejected=pair.rejected.lstrip())

    def _prompt(self, row: dict[str, Any], key: str) -> Said:
        if not self.raw_prompts:
            return said(row, key)
        text: str | None = value(row, key, str, type(None))
        if text is None:
            raise Unusable(f"a null in {key}")
        return text

    def splits_found(self) -> list[str]:
        if self.test is not None:
            return []
        lines = []
        if self.test_split is not None:
            lines.append(f"test: the own test split of {self.path or self.name}, {self.test_split}")
        others = {self.train.replace("train", name) for name in OTHER_SPLITS} - {self.train}
        if unread := sorted(others & set(self._held)):
            lines.append(
                f"validation: taken out of the training rows; the split {unread[0]} is not read"
            )
        return lines

    @cached_property
    def _held(self) -> list[str]:
        if self.path is None:
            assert self.name is not None
            return hub_splits(self.name)
        path = located(self.path)
        return held_splits(path) if path.is_dir() else []


def _readable(file: Path) -> Path:
    if not file.is_file():
        raise BadInput(f"dataset.test: {file.absolute()} is not a file")
    if not file.name.endswith(SUFFIXES):
        raise BadInput(f"{file.absolute()} must end with {', '.join(SUFFIXES)}")
    return file
