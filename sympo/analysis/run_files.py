"""The files of run folders as tables, a column for each setting and each number.

Sweeps reach 100,000 cells, whose JSON would take Python half a minute and a gigabyte: Arrow parses
it by the thousand files, on all cores, without making an object of any number. Files that Arrow
cannot take together (one is broken, a setting is a number here and a text there) are parsed by
Python, one by one.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as arrow_json

from sympo.analysis.frames import KEYS, WHICH, flatten

log = logging.getLogger(__name__)

_TOGETHER = 2048  # files that are parsed at a time
_AT_ONCE = 1 << 15  # bytes: nearly every file, with one call of the system
_NEEDED = [*KEYS, "config", "last"]
_OPTIONAL = ["model", "selected", "outcomes"]


@dataclass(frozen=True)
class Runs:
    """What run folders hold.

    complete: the folders with a readable summary; incomplete: those with a config but none.
    summaries: a row for each complete folder: what it is called, `config.<setting>` (a list as
        JSON text), `last.<metric>`, `selected.<metric>`, `outcomes.<last or selected>.<metric>`.
    evaluations: a row for each evaluation: `cell`, the row of its folder; `epoch`; metrics.
    """

    complete: list[str]
    incomplete: list[str]
    summaries: pa.Table
    evaluations: pa.Table


def read_runs(folders: Sequence[str]) -> Runs:
    """Read the files of run folders, in the order given."""
    batches = [folders[at : at + _TOGETHER] for at in range(0, len(folders), _TOGETHER)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        parts = list(threads.map(_read, batches or [[]]))
    complete: list[str] = []
    evaluations = []
    for part in parts:
        cells = part.evaluations["cell"].to_numpy() + len(complete)
        evaluations.append(part.evaluations.set_column(0, "cell", pa.array(cells)))
        complete += part.complete
    return Runs(
        complete,
        [folder for part in parts for folder in part.incomplete],
        _joined([part.summaries for part in parts]),
        _joined(evaluations),
    )


def _read(folders: Sequence[str]) -> Runs:
    texts = {folder: _content(f"{folder}/summary.json") for folder in folders}
    there = {folder: text for folder, text in texts.items() if text is not None}
    complete, summaries = _summaries(there)
    done = set(complete)
    incomplete = [
        folder
        for folder, text in texts.items()
        if folder not in done and (text is not None or Path(folder, "config.yaml").exists())
    ]
    return Runs(complete, incomplete, summaries, _evaluations(complete))


def _content(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        parts = [os.read(file, _AT_ONCE)]
        while len(parts[-1]) == _AT_ONCE:
            parts.append(os.read(file, _AT_ONCE))
        return b"".join(parts)
    finally:
        os.close(file)


def _summaries(texts: Mapping[str, bytes]) -> tuple[list[str], pa.Table]:
    """The folders whose summaries can be read, and those."""
    table = _parsed(list(texts.values()))
    if table is not None and len(table) == len(texts) and _whole(table, _NEEDED):
        wanted = [name for name in (*_NEEDED, *_OPTIONAL) if name in table.column_names]
        return list(texts), _numbers(_flat(table.select(wanted)), [f"{name}." for name in WHICH])
    records = {folder: _summary(folder, text) for folder, text in texts.items()}
    found = {folder: record for folder, record in records.items() if record is not None}
    return list(found), _table(list(found.values()), [f"{name}." for name in WHICH])


def _summary(folder: str, text: bytes) -> dict[str, Any] | None:
    """The summary of a complete cell, flat; None where it cannot be read."""
    try:
        summary = json.loads(text.decode())
        missing = [name for name in _NEEDED if summary.get(name) is None]
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s/summary.json is not readable (%s): counted as incomplete", folder, error)
        return None
    if missing:
        log.warning(
            "%s/summary.json lacks %s: counted as incomplete", folder, ", ".join(missing)
        )  # fmt: skip
        return None
    return flatten({name: summary.get(name) for name in (*_NEEDED, *_OPTIONAL)})


def _evaluations(folders: Sequence[str]) -> pa.Table:
    """The evaluations of cells; a line written again after a resume replaces the first."""
    texts = [_content(f"{folder}/metrics.jsonl") or b"" for folder in folders]
    counts = [text.count(b"\n") for text in texts]
    table = _parsed(texts) if all(map(_a_line_each, texts)) else None
    if table is not None and _whole(table, ["epoch"]) and len(table) == sum(counts):
        cells = np.repeat(np.arange(len(folders)), counts)
        table = _numbers(table, [""]).add_column(0, "cell", pa.array(cells))
    else:
        records = [
            {"cell": cell, **record}
            for cell, (folder, text) in enumerate(zip(folders, texts, strict=True))
            for record in _history(folder, text)
        ]
        table = _table(records, [""])
        if not records:
            table = pa.table({"cell": np.zeros(0, int), "epoch": np.zeros(0, int)})
    places = pd.DataFrame({name: table[name].to_numpy() for name in ("cell", "epoch")})
    again = places.duplicated(keep="last")
    return table.filter(pa.array(~again)) if again.any() else table


def _a_line_each(text: bytes) -> bool:
    """Whether every line, and nothing else, can be an evaluation."""
    return not text or (text.endswith(b"\n") and b"\n\n" not in text and text[:1] != b"\n")


def _history(folder: str, text: bytes) -> list[dict[str, Any]]:
    try:
        records = json.loads(b"[" + b",".join(filter(None, text.splitlines())) + b"]")
        for record in records:
            record["epoch"] + 0
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s/metrics.jsonl is not readable (%s): the cell has no curve", folder, error)
        return []
    return records


def _parsed(texts: Sequence[bytes]) -> pa.Table | None:
    """JSON texts, one after the other, as a table; None where it takes Python to tell."""
    joined = b"\n".join(texts)
    try:
        table = arrow_json.read_json(
            pa.BufferReader(joined),
            arrow_json.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            arrow_json.ParseOptions(newlines_in_values=True),
        )
    except pa.ArrowInvalid:
        return None
    # text that looks like a date would not come back as it stood
    return None if "timestamp" in str(table.schema) else table


def _whole(table: pa.Table, needed: Sequence[str]) -> bool:
    """Whether no value of the columns that are needed is missing."""
    return all(name in table.column_names and not table[name].null_count for name in needed)


def _flat(table: pa.Table) -> pa.Table:
    """Settings within settings as columns with dotted names, lists as JSON text."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [_text(values) for values in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def _numbers(table: pa.Table, prefixes: Sequence[str]) -> pa.Table:
    """Columns below the prefixes as floats; what stands beside numbers and is none is left out."""
    for field in table.schema:
        if field.name.startswith(tuple(prefixes)) and field.type != pa.float64():
            place = table.schema.get_field_index(field.name)
            try:
                numbers = table[place].cast(pa.int64() if field.type == pa.bool_() else field.type)
                table = table.set_column(place, field.name, numbers.cast(pa.float64()))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                table = table.remove_column(place)
    return table


def _table(records: Sequence[Mapping[str, Any]], prefixes: Sequence[str]) -> pa.Table:
    """Flat records as the table that Arrow would have made of them."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        kinds = {_kind(type(value)) for value in values if value is not None}
        if name.startswith(tuple(prefixes)):
            if "text" not in kinds:
                numbers = [None if value is None else float(value) for value in values]
                columns[name] = pa.array(numbers, pa.float64())
            continue
        if len(kinds) > 1:
            values = [_text(value) for value in values]
        columns[name] = pa.array(values, pa.float64() if _mixed(values) else None)
    return _numbers(pa.table(columns), prefixes)


def _mixed(values: Sequence[Any]) -> bool:
    """Whole and other numbers in one column."""
    return {int, float} <= {type(value) for value in values}


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables below each other; a setting that is a number here and a text there becomes text."""
    kinds: dict[str, set[str]] = {}
    for table in tables:
        for field in table.schema:
            if not pa.types.is_null(field.type):
                kinds.setdefault(field.name, set()).add(_kind(field.type))
    both = {name for name, found in kinds.items() if len(found) > 1}
    told = [_as_text(table, both.intersection(table.column_names)) for table in tables]
    return pa.concat_tables(told, promote_options="permissive").combine_chunks()


def _kind(of: type | pa.DataType) -> str:
    """Text, bool or number, of which a column holds one kind."""
    if of is bool or (isinstance(of, pa.DataType) and pa.types.is_boolean(of)):
        return "bool"
    return (
        "text"
        if of is str or (isinstance(of, pa.DataType) and pa.types.is_string(of))
        else "number"
    )


def _text(value: Any) -> str | None:
    """A setting as text: a list as JSON, whole numbers without a point, as identities have them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return json.dumps([int(v) if isinstance(v, float) and v.is_integer() else v for v in value])
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _as_text(table: pa.Table, names: Iterable[str]) -> pa.Table:
    for name in names:
        texts = [_text(value) for value in table[name].to_pylist()]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(texts, pa.string()))
    return table
