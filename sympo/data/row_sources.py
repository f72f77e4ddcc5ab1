"""Where the rows of a data set come from: files of a folder, or a set on the hub."""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sympo.data.file_readers import READERS
from sympo.types import BadArgument, BadInput

SUFFIXES = tuple(READERS)


class PlacedRow(NamedTuple):
    """A row and its place, "FILE row 12", counted from 1."""

    where: str
    row: dict[str, Any]


def located(path: str) -> Path:
    """The file or folder at a data set's `path`; raises BadArgument if there is neither."""
    try:
        found = Path(path).expanduser()
        if found.exists():
            return found
    except (OSError, RuntimeError) as error:  # too long, no permission, no such user
        reason = " ".join(str(error).split())
        raise BadArgument("path", path, f"cannot be opened: {reason}") from error
    raise BadArgument("path", path, f"is neither a file nor a folder: {found.absolute()}")


def folder(path: str) -> Path:
    """The folder at a data set's `path`; raises BadArgument if there is none."""
    found = located(path)
    if not found.is_dir():
        raise BadArgument("path", path, f"must be a folder, and {found.absolute()} is a file")
    return found


def held_splits(place: Path) -> list[str]:
    """The names of the splits whose files are in a folder or in its `data`, sorted."""
    names = {
        file.name.removesuffix(suffix).split("-")[0]
        for home in (place, place / "data")
        for suffix in SUFFIXES
        for file in home.glob(f"*{suffix}")
        if file.is_file()
    }
    return sorted(names)


def split_files(place: Path, split: str) -> list[Path]:
    """The files of a split in a folder or in its `data`, in order: `SPLIT.jsonl` or with another of
    SUFFIXES, or the hub's `SPLIT-*.parquet`; raises BadArgument if there is none or more than one
    kind.
    """
    if split != Path(split).name:
        raise BadInput(f"{split} is not the name of a split, such as train")
    name = glob.escape(split)
    found = [
        files
        for home in (place, place / "data")
        for suffix in SUFFIXES
        for pattern in (f"{name}{suffix}", f"{name}-*{suffix}")
        if (files := sorted(file for file in home.glob(pattern) if file.is_file()))
    ]
    if not found:
        held = held_splits(place)
        raise BadArgument(
            "path",
            place.absolute(),
            f"holds no {split} split, neither "
            f"{', '.join(split + suffix for suffix in SUFFIXES)} nor data/{split}-*.parquet"
            + (f"; it holds {', '.join(held)}" if held else ""),
        )
    if len(found) > 1:
        raise BadArgument(
            "path",
            place.absolute(),
            f"holds the {split} split more than once: "
            f"{', '.join(str(files[0].relative_to(place)) for files in found)}",
        )
    return found[0]


def file_rows(files: list[Path]) -> Iterator[PlacedRow]:
    """The rows of files; a BadInput names the file, and the row if it concerns one."""
    for file in files:
        count = 0
        reader = next(READERS[suffix] for suffix in SUFFIXES if file.name.endswith(suffix))
        for number, row in reader(file):
            count += 1
            yield PlacedRow(f"{file.absolute()} row {number}", row)
        if not count:
            raise BadInput(f"{file.absolute()} is empty")


def hub_splits(name: str) -> list[str]:
    """The names of the splits of a set on the hub; raises BadInput if it cannot be downloaded."""
    found = _loaded(name)
    return sorted(map(str, found)) if isinstance(found, dict) else []


def hub_rows(name: str, split: str, data_dir: str | None = None) -> Iterator[PlacedRow]:
    """The rows of a split on the hub, downloaded once by `datasets`; raises BadInput on failure."""
    rows = iter(_loaded(name, data_dir, split))
    place = " ".join(part for part in (name, data_dir, split) if part)
    number = 0
    while True:
        number += 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # it decodes values of any type
            reason = " ".join(str(error).split())
            raise BadInput(f"{place} row {number} cannot be read: {reason}") from error
        yield PlacedRow(f"{place} row {number}", row)


def _loaded(name: str, data_dir: str | None = None, split: str | None = None) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(name, data_dir=data_dir, split=split)
    except Exception as error:  # the hub's client and its HTTP library raise errors of many kinds
        reason = " ".join(str(error).split())
        raise BadArgument(
            "path",
            "null",
            f"downloads {name}, which is not cached and could not be downloaded ({reason}); give a "
            "local copy, dataset.path=FOLDER",
        ) from error
