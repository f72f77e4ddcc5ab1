"""Readers of the rows of a data file: JSONL, JSON, CSV and Parquet.

Each yields (number, row), counted from 1; a BadInput names the file, and the row if there is one.
"""

import codecs
import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any

from sympo.data.message_parsing import is_message
from sympo.types import BadInput

Numbered = Iterator[tuple[int, dict[str, Any]]]

OTHER_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
LONGEST_CELL = 2**31 - 1
# of a Parquet file, as Python values
ROWS_AT_ONCE = 1024


def json_lines(file: Path) -> Numbered:
    """JSONL: one object per line; a row's number is that of its line."""
    for number, line in _lines(file, "row"):
        if line.strip():
            yield number, _object(_parsed(line, f"{file.absolute()} row {number}"), file, number)


def json_rows(file: Path) -> Numbered:
    """A JSON file: an array of objects, one object, an object that holds the list of rows (alone or
    as `data`), or JSON lines, which many files named .json are."""
    text = "".join(line for _, line in _lines(file))
    if not text.strip():
        return
    try:
        found = _parsed(text, str(file.absolute()))
    except BadInput:
        first = next(line for line in text.splitlines() if line.strip())
        if not first.lstrip().startswith("{") or not first.rstrip().endswith("}"):
            raise
        yield from json_lines(file)
        return
    rows = found if isinstance(found, list) else _enclosed(found)
    del text, found
    rows.reverse()
    for number in range(1, len(rows) + 1):  # each is let go as soon as it is read
        yield number, _object(rows.pop(), file, number)


def csv_rows(file: Path) -> Numbered:
    """CSV with a header, separated by commas; values are strings, and row 1 is below the header."""
    number = -1
    csv.field_size_limit(LONGEST_CELL)
    table = csv.reader((line for _, line in _lines(file)), strict=True)
    try:
        header: list[str] = []
        for cells in table:
            if not cells:
                continue
            number += 1
            if not header:
                header = cells
                _each_once(header, file)
                continue
            if len(cells) != len(header):
                raise BadInput(
                    f"{file.absolute()} row {number} has {len(cells)} cells, its header "
                    f"{len(header)}"
                )
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInput(f"{file.absolute()} row {number + 1} is broken CSV: {error}") from error


def parquet_rows(file: Path) -> Numbered:
    """Parquet."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            _each_once(table.schema_arrow.names, file)
            before = 0
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
                try:
                    rows = batch.to_pylist()
                except (ValueError, OverflowError, ArrowException) as error:
                    raise BadInput(_broken_cell(batch, file, before)) from error
                yield from enumerate(rows, before + 1)
                before += len(rows)
    except (OSError, ArrowException) as error:
        raise BadInput(
            f"{file.absolute()} is not a readable Parquet file: {' '.join(str(error).split())}"
        ) from error


READERS: dict[str, Callable[[Path], Numbered]] = {
    **{".jsonl": json_lines, ".json": json_rows, ".csv": csv_rows, ".parquet": parquet_rows},
    **{".jsonl.gz": json_lines, ".json.gz": json_rows, ".csv.gz": csv_rows},
}


def _lines(file: Path, called: str = "line") -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with _opened(file) as lines:
            for number, line in enumerate(lines, 1):
                yield number, _decoded(line, number, f"{file.absolute()} {called} {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(
            f"{file.absolute()} cannot be read after {called} {number}: "
            f"{' '.join(str(error).split())}"
        ) from error


def _opened(file: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


def _decoded(line: bytes, number: int, where: str) -> str:
    if number == 1:
        for name, marks in OTHER_MARKS.items():
            if line.startswith(marks):
                raise BadInput(
                    f"{where} has a broken encoding: it is read as UTF-8 and begins like {name}; "
                    "save the file as UTF-8"
                )
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{where} has a broken encoding: {_byte(error)}; save the file as UTF-8"
        ) from error


def _byte(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"read as UTF-8, byte 0x{byte:02x} at place {error.start + 1} cannot be ({error.reason})"


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise BadInput(f"{where} is broken JSON: it is nested too deep") from error
    except ValueError as error:
        raise BadInput(f"{where} is broken JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {twice} more than once")
    return found


def _object(row: Any, file: Path, number: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadInput(
            f"{file.absolute()} row {number} is a {type(row).__name__}, not an object with keys"
        )
    return row


def _enclosed(found: Any) -> list[Any]:
    if isinstance(found, dict):
        for key, held in found.items():
            if not (isinstance(held, list) and held and isinstance(held[0], dict)):
                continue
            if (key == "data" or len(found) == 1) and not is_message(held[0]):
                return held
    return [found]


def _each_once(names: Sequence[str], file: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInput(f"{file.absolute()} has the column {twice[0]} more than once")


def _broken_cell(batch: Any, file: Path, before: int) -> str:
    """The error message for a batch that cannot be converted to Python values."""
    for row, (name, column) in chain.from_iterable(
        ((row, one) for one in zip(batch.schema.names, batch.columns, strict=True))
        for row in range(len(batch))
    ):
        try:
            column[row].as_py()
        except UnicodeDecodeError as error:
            why = f"has a broken encoding: {_byte(error)}"
        except (ValueError, OverflowError) as error:
            why = f"holds what cannot be read: {error}"
        else:
            continue
        return f"{file.absolute()} row {before + row + 1}: {name} {why}"
    return f"{file.absolute()} has rows after row {before} that cannot be read"
