"""Any preference data set of texts: local files or a set on the hub, in the forms they come in."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from sympo.data.preference_columns import PreferenceColumns
from sympo.data.row_sources import (
    SUFFIXES,
    PlacedRow,
    file_rows,
    held_splits,
    hub_rows,
    hub_splits,
    located,
    split_files,
)
from sympo.types import BadArgument, BadInput

# what rows that are neither for training nor for testing are usually called
OTHER_SPLITS = ("validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True, kw_only=True)
class PreferenceSet(PreferenceColumns):
    """Files or a set on the hub, of rows whose columns are those of PreferenceColumns.

    path: the file of the training rows, or a folder of files that are named by their split.
    name: a data set on the hub instead.
    train, test: the names of the splits; for a single file, `test` names another file. Without
        `test`, the test split is that of the folder or hub set, else `test_share` of the training
        prompts.
    """

    identity: ClassVar[str] = "preferences"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str | None = None
    name: str | None = None
    train: str = "train"
    test: str | None = None

    def check(self) -> None:
        if (self.path is None) == (self.name is None):
            raise BadArgument(
                "path",
                self.path,
                f"and name={self.name}: give either path, a local file or folder, or name, a data "
                "set on the hub",
            )
        super().check()

    @property
    def has_test(self) -> bool:
        return self.test_split is not None

    @cached_property
    def test_split(self) -> str | None:
        """The name of the test split, set or found; None if it is a share of the prompts."""
        if self.test is not None:
            return self.test
        held = self._held
        if "train" in self.train and (own := self.train.replace("train", "test")) in held:
            return own
        found = [split for split in held if split.startswith("test") and split != self.train]
        if len(found) > 1:
            raise BadArgument(
                "test",
                "null",
                f"is ambiguous: {self.path or self.name} has the test splits {', '.join(found)}; "
                "name one of them",
            )
        return found[0] if found else None

    def rows(self, split: Literal["train", "test"]) -> Iterator[PlacedRow]:
        wanted = self.train if split == "train" else self.test_split
        assert wanted is not None
        if self.path is None:
            assert self.name is not None
            return hub_rows(self.name, wanted)
        path = located(self.path)
        if path.is_dir():
            return file_rows(split_files(path, wanted))
        if split == "train":
            return file_rows([_readable("path", path)])
        return file_rows([_readable("test", path.parent / wanted)])

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


def _readable(argument: str, file: Path) -> Path:
    if not file.is_file():
        raise BadArgument(argument, file.name, f"is not a file: {file.absolute()}")
    if not file.name.endswith(SUFFIXES):
        raise BadInput(f"{file.absolute()} must end with {', '.join(SUFFIXES)}")
    return file
