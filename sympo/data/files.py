"""Rows of data files and of the hub, each with the words that say where it stands."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sympo.types import BadInput

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

# a row and where it stands, "FILE row 12", counted from 1
Row = tuple[str, dict[str, Any]]


def folder(path: str) -> Path:
    """The folder that `dataset.path` names; BadInput where there is none."""
    found = Path(path).expanduser()
    if not found.is_dir():
        raise BadInput(f"dataset.path={path}: {found.absolute()} is no folder")
    return found


def split_files(place: Path, split: str) -> list[Path]:
    """The files of a split in a folder or in its `data`, in order: `SPLIT.jsonl`, `.jsonl.gz` or
    `.parquet`, or the hub's `SPLIT-*.parquet`; BadInput where there is none or more than one kind.
    """
    found = [
        files
        for home in (place, place / "data")
        for suffix in SUFFIXES
        for pattern in (f"{split}{suffix}", f"{split}-*{suffix}")
        if (files := sorted(home.glob(pattern)))
    ]
    if not found:
        raise BadInput(
            f"dataset.path: {place.absolute()} holds no {split} split, neither "
            f"{', '.join(split + suffix for suffix in SUFFIXES)} nor data/{split}-*.parquet"
        )
    if len(found) > 1:
        raise BadInput(
            f"dataset.path: {place.absolute()} holds the {split} split more than once: "
            f"{', '.join(str(files[0].relative_to(place)) for files in found)}"
        )
    return found[0]


def file_rows(files: list[Path]) -> Iterator[Row]:
    """The rows of JSONL and Parquet files; BadInput names the file, and the row if it is one."""
    for file in files:
        count = 0
        for number, row in _parquet(file) if file.suffix == ".parquet" else _json_lines(file):
            count += 1
            yield f"{file.absolute()} row {number}", row
        if not count:
            raise BadInput(f"{file.absolute()} is empty")


def hub_rows(name: str, split: str, data_dir: str | None = None) -> Iterator[Row]:
    """The rows of a split on the hub, downloaded once through `datasets`; BadInput on failure."""
    from datasets import load_dataset

    try:
        table = load_dataset(name, data_dir=data_dir, split=split)
    except Exception as error:  # the hub's client and its HTTP library raise errors of many kinds
        reason = " ".join(str(error).split())
        raise BadInput(
            f"{name} is not here and could not be downloaded ({reason}); give dataset.path, a "
            f"local copy"
        ) from error
    place = " ".join(part for part in (name, data_dir, split) if part)
    for number, row in enumerate(table, 1):
        yield f"{place} row {number}", row


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _object(file, number, line)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(
            f"{file.absolute()} cannot be read after row {number}: {' '.join(str(error).split())}"
        ) from error


def _object(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{file.absolute()} row {number} is broken JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadInput(
            f"{file.absolute()} row {number} is a {type(row).__name__}, not an object with keys"
        )
    return row


def _parquet(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            rows = (row for batch in table.iter_batches() for row in batch.to_pylist())
            yield from enumerate(rows, 1)
    except (OSError, ArrowException) as error:
        raise BadInput(
            f"{file.absolute()} is no readable Parquet file: {' '.join(str(error).split())}"
        ) from error
