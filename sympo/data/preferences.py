"""Any preference data set of texts: local JSONL or Parquet files, or a set on the hub."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from sympo import seeding
from sympo.data.encoding import Message, TextPair
from sympo.data.files import SUFFIXES, Row, file_rows, folder, hub_rows, split_files
from sympo.data.text import Rows, TextDataset, Unusable, dialogue_pair, messages, value
from sympo.ranges import Range
from sympo.types import BadInput


@dataclass(frozen=True, kw_only=True)
class PreferenceSet(TextDataset):
    """Rows with a prompt, a chosen and a rejected answer, as strings or as lists of messages.

    path: the file of the training rows, or a folder of files that are called by their split.
    name: a data set on the hub instead.
    train, test: the names of the splits; for a single file, `test` names another file. Without
        `test`, `test_share` of the training prompts is taken for it.
    prompt: the column of the prompt; None takes from two whole dialogues all but the last message.
    chosen, rejected: the columns of the answers: a string, a list with the assistant's message, or
        the whole dialogue.
    """

    name: str | None = None
    train: str = "train"
    test: str | None = None
    test_share: Annotated[float, Range(above=0, below=1)] = 0.1
    prompt: str | None = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"

    def check(self) -> None:
        if (self.path is None) == (self.name is None):
            raise BadInput(
                f"dataset.path={self.path} and dataset.name={self.name}: give either path, a local "
                f"file or folder, or name, a data set on the hub"
            )
        if not 0 < self.test_share < 1:
            raise BadInput(f"dataset.test_share={self.test_share} must lie in (0, 1)")
        super().check()

    def read(self) -> tuple[Rows, Rows]:
        if self.test is not None:
            return super().read()
        rows = self.usable("train")
        share = seeding.uniform(0, "test", rows.prompts) < self.test_share
        test = replace(rows.take(np.flatnonzero(share)), read=int(share.sum()), dropped=Counter())
        return rows.without(test.prompts, "taken for the test split"), test

    def rows(self, split: str) -> Iterator[Row]:
        wanted = self.train if split == "train" else self.test
        assert wanted is not None
        if self.path is None:
            assert self.name is not None
            return hub_rows(self.name, wanted)
        path = Path(self.path).expanduser()
        if not path.exists():
            raise BadInput(
                f"dataset.path={self.path}: {path.absolute()} is neither file nor folder"
            )
        if path.is_dir():
            return file_rows(split_files(folder(self.path), wanted))
        return file_rows([_readable(path if split == "train" else path.parent / wanted)])

    def pair(self, row: dict[str, Any]) -> TextPair:
        if self.prompt is None:
            return dialogue_pair(messages(row, self.chosen), messages(row, self.rejected))
        prompt = _messages(row, self.prompt, "user")
        chosen = _messages(row, self.chosen, "assistant")
        rejected = _messages(row, self.rejected, "assistant")
        return TextPair(prompt, _answer(chosen, prompt), _answer(rejected, prompt))


def _messages(row: dict[str, Any], key: str, role: str) -> list[Message]:
    if isinstance(value(row, key, str, list), str):
        return [{"role": role, "content": row[key]}]
    return messages(row, key)


def _answer(said: list[Message], prompt: list[Message]) -> str:
    if not said or said[-1]["role"] != "assistant":
        raise Unusable("no answer of the assistant at the end")
    if said[:-1] not in ([], prompt):
        raise Unusable("a dialogue that goes on from another prompt")
    return said[-1]["content"]


def _readable(file: Path) -> Path:
    if not file.is_file():
        raise BadInput(f"dataset.test: {file.absolute()} is no file")
    if not file.name.endswith(SUFFIXES):
        raise BadInput(f"{file.absolute()} must end with {', '.join(SUFFIXES)}")
    return file
