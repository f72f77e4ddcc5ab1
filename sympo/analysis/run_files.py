"""The files of run folders as tables, a column for each setting and each number.

Two readers, because 100,000 cells (three files each) take JSON in Python 29 s and more than 1 GB,
but Arrow 4 s on two cores. Python reads, one by one, files that Arrow cannot read together: one is
broken, or a setting is a number in one and a text in another.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json

from sympo.analysis.config_leaves import SEPARATOR
from sympo.analysis.frames import KEYS, WHICH, flatten
from sympo.disk import config_is_garbled, seal_is_broken
from sympo.metrics import bounds, is_metric
from sympo.validity import (
    OPTIONS,
    PLACE,
    history_fault,
    in_place,
    summary_fault,
)

log = logging.getLogger(__name__)

_TOGETHER = 2048  # files parsed at a time
_AT_ONCE = 1 << 15  # bytes, enough for nearly every file in one read
_MADE = ["git_commit", "device", "started", "wall_seconds", "versions", "symmetric_loss"]
_READ = [
    *KEYS, "hash", "config", "last", "model", "protocol", "selected", "outcomes", "at_default",
    *_MADE,
]  # fmt: skip
_FINITE = sys.float_info.max
_SHOWN = 20  # sentences on damaged files
_NO_CONFIG = b"x:"  # stands in for a missing config, which is not garbled


@dataclass(frozen=True)
class Runs:
    """The contents of run folders.

    complete: the folders with an intact summary and evaluations; incomplete: all others, also of
        cells that failed before writing anything; damaged: a sentence per damaged file.
    summaries: a row for each complete folder: its keys, `config.<setting>` (a list as
        JSON text), `at_default` (as `Defaults.of` takes it), `last.<metric>`, `selected.<metric>`,
        `outcomes.<last or selected>.<metric>`; where and when it was made.
    evaluations: a row for each evaluation: `cell`, the row of its folder; `epoch`; metrics.
    """

    complete: list[str]
    incomplete: list[str]
    damaged: list[str]
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
    damaged = [fault for part in parts for fault in part.damaged]
    return Runs(
        complete,
        [folder for part in parts for folder in part.incomplete],
        damaged,
        _joined([part.summaries for part in parts]),
        _joined(evaluations),
    )


def warn_of_damage(sentences: Sequence[str]) -> None:
    """Warn of damaged files, up to a number that people read."""
    for sentence in sentences[:_SHOWN]:
        log.warning(sentence)
    if len(sentences) > _SHOWN:
        log.warning("%d more files are damaged", len(sentences) - _SHOWN)


def _read(folders: Sequence[str]) -> Runs:
    texts = {folder: _content(f"{folder}/summary.json") for folder in folders}
    there = {folder: text for folder, text in texts.items() if text is not None}
    summaries, faults = _summaries(there)
    found = [folder for folder in there if folder not in faults]
    evaluations, of_evaluations = _evaluations(found, summaries)
    whole = [folder not in of_evaluations for folder in found]
    summaries = summaries.filter(pa.array(whole, pa.bool_()))
    complete = [folder for folder in found if folder not in of_evaluations]
    done = set(complete)
    incomplete = [folder for folder in texts if folder not in done]
    damaged = [f"{folder}/summary.json is damaged: {fault}" for folder, fault in faults.items()]
    damaged += [
        f"{folder}/metrics.jsonl is damaged: {fault}" for folder, fault in of_evaluations.items()
    ]
    sentences = [f"{fault}; the cell is counted as incomplete" for fault in damaged]
    sentences += [
        f"{folder}/config.yaml is garbled; the cell's numbers do not come from it"
        for folder in complete
        if config_is_garbled(_content(f"{folder}/config.yaml") or _NO_CONFIG)
    ]
    return Runs(complete, incomplete, sentences, summaries, evaluations)


def _content(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        text = os.read(file, _AT_ONCE)
        while len(text) % _AT_ONCE == 0 and (more := os.read(file, _AT_ONCE)):
            text += more
        return text
    finally:
        os.close(file)


def _summaries(texts: Mapping[str, bytes]) -> tuple[pa.Table, dict[str, str]]:
    """The intact summaries, and the faults of the others by folder."""
    prefixes = [f"{name}." for name in WHICH]
    table = _parsed(list(texts.values()))
    if table is None or len(table) != len(texts) or not _well_formed(table):
        faults = _faults(texts, texts)
        kept = [json.loads(text) for folder, text in texts.items() if folder not in faults]
        records = [_record(one) for one in kept]
        return _table(records, prefixes), faults
    flat = _flat(table.select([name for name in _READ if name in table.column_names]))
    odd = _out_of_bounds(flat, prefixes) | _out_of_place(flat, list(texts))
    odd |= np.array([seal_is_broken(text) for text in texts.values()], bool)
    faults = _faults([folder for folder, is_odd in zip(texts, odd, strict=True) if is_odd], texts)
    whole = pa.array([folder not in faults for folder in texts], pa.bool_())
    return _numbers(flat.filter(whole), prefixes), faults


def _record(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as a row of `_flat`."""
    leaves = summary.get("at_default")
    joined = None if leaves is None else SEPARATOR.join(leaves)
    return flatten({**{name: summary.get(name) for name in _READ}, "at_default": joined})


def _faults(folders: Iterable[str], texts: Mapping[str, bytes]) -> dict[str, str]:
    found = {folder: summary_fault(texts[folder], _place(folder)) for folder in folders}
    return {folder: fault for folder, fault in found.items() if fault}


def _place(folder: str) -> list[str]:
    parts = folder.split("/")[-5:]
    return parts if len(parts) == 5 else list(Path(folder).absolute().parts[-5:])


def _well_formed(table: pa.Table) -> bool:
    """Whether all needed columns are there, complete and of their types."""
    kinds: dict[str, Callable[[pa.DataType], bool]] = {
        **dict.fromkeys((*OPTIONS, "hash"), pa.types.is_string),
        **dict.fromkeys(("config", "last"), pa.types.is_struct),
        "noise": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
        "seed": pa.types.is_integer,
    }
    optional = [name for name in ("selected", "outcomes") if name in table.column_names]
    parts: dict[str, Callable[[pa.DataType], bool]] = dict.fromkeys(optional, pa.types.is_struct)
    if "at_default" in table.column_names:
        parts["at_default"] = _is_list_of_texts
    return _whole(table, list(kinds)) and all(
        is_kind(table.schema.field(name).type) for name, is_kind in (kinds | parts).items()
    )


def _is_list_of_texts(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_null(inner) or (inner is not kind and pa.types.is_string(inner)))


def _out_of_bounds(table: pa.Table, prefixes: Sequence[str]) -> np.ndarray:
    """The rows in which a metric is not a number or out of its range."""
    odd = np.zeros(len(table), bool)
    for field in table.schema:
        prefix = next((prefix for prefix in prefixes if field.name.startswith(prefix)), None)
        name = field.name.removeprefix(prefix or "")
        if prefix is None or not is_metric(name) or pa.types.is_null(field.type):
            continue
        column = table[field.name]
        if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
            odd |= column.is_valid().to_numpy()
            continue
        low, high = bounds(name)
        ends = pc.min_max(column).as_py()
        inside = ends["min"] is None or (
            max(low, -_FINITE) <= ends["min"] and ends["max"] <= min(high, _FINITE)
        )
        if not inside:
            values = column.cast(pa.float64()).to_numpy()
            odd |= ~np.isnan(values) & ~((low <= values) & (values <= high) & np.isfinite(values))
    return odd


def _out_of_place(table: pa.Table, folders: Sequence[str]) -> np.ndarray:
    """The summaries that do not match the paths of their folders."""
    named = zip(*(table[name].to_pylist() for name in PLACE), strict=True)
    rates = table["noise"].cast(pa.float64()).to_numpy()
    there = [in_place(_place(folder), *names) for folder, names in zip(folders, named, strict=True)]
    allowed: npt.NDArray[np.bool_] = (rates >= 0) & (rates < 0.5)
    return ~(np.array(there, bool) & allowed)


def _evaluations(folders: Sequence[str], summaries: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """The intact evaluations of cells, and the faults of the others by folder; after a resume, the
    later line of an epoch counts.

    summaries: a row for each folder, with the epoch at which its cell ended.
    """
    texts = [_content(f"{folder}/metrics.jsonl") for folder in folders]
    lines = [text or b"" for text in texts]
    ended = summaries["last.epoch"].to_numpy() if folders else np.zeros(0)
    counts = [text.count(b"\n") for text in lines]
    table = _parsed(lines) if all(map(_a_line_each, lines)) else None
    if table is not None and _whole(table, ["epoch"]) and len(table) == sum(counts):
        cells = np.repeat(np.arange(len(folders)), counts)
        suspects = set(cells[_out_of_bounds(table, [""])].tolist())
        table = _numbers(table, [""]).add_column(0, "cell", pa.array(cells))
        last = np.full(len(folders), np.nan)
        last[cells] = table["epoch"].to_numpy()  # the last line of a cell wins
        suspects |= set(np.flatnonzero(~(last == ended)).tolist())
    else:
        table, suspects = None, set(range(len(folders)))
    found = {cell: history_fault(texts[cell], ended[cell]) for cell in sorted(suspects)}
    faults = {cell: fault for cell, fault in found.items() if fault}
    if table is None:
        table = _table(
            [
                {"cell": cell, **json.loads(line)}
                for cell, text in enumerate(lines)
                for line in (text.splitlines() if cell not in faults else ())
                if line
            ],
            [""],
        )
        if not len(table):
            table = pa.table({"cell": np.zeros(0, int), "epoch": np.zeros(0, int)})
    kept = np.array([cell not in faults for cell in range(len(folders))], bool)
    cells = table["cell"].to_numpy().astype(int)
    places = pd.DataFrame({"cell": cells, "epoch": table["epoch"].to_numpy()})
    wanted = ~places.duplicated(keep="last").to_numpy() & kept[cells]
    renumbered = pa.array((np.cumsum(kept) - 1)[cells])
    table = table.set_column(0, "cell", renumbered)
    whole = table if wanted.all() else table.filter(pa.array(wanted))
    return whole, {folders[cell]: fault for cell, fault in faults.items()}


def _a_line_each(text: bytes) -> bool:
    """Whether no line is blank or unterminated."""
    return not text or (text.endswith(b"\n") and b"\n\n" not in text and text[:1] != b"\n")


def _parsed(texts: Sequence[bytes]) -> pa.Table | None:
    """JSON texts as a table; None if Arrow cannot read them together."""
    joined = b"\n".join(texts)
    try:
        table = arrow_json.read_json(
            pa.BufferReader(joined),
            arrow_json.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            arrow_json.ParseOptions(newlines_in_values=True),
        )
    except pa.ArrowInvalid:
        return None
    # text that looks like a date would come back changed
    return None if "timestamp" in str(table.schema) else table


def _whole(table: pa.Table, needed: Sequence[str]) -> bool:
    """Whether the needed columns have no missing value."""
    return all(name in table.column_names and not table[name].null_count for name in needed)


def _flat(table: pa.Table) -> pa.Table:
    """Nested settings as columns with dotted names, lists as JSON text."""
    if "at_default" in table.column_names:
        place = table.schema.get_field_index("at_default")
        lists = table[place].cast(pa.list_(pa.string()))
        table = table.set_column(place, "at_default", pc.binary_join(lists, SEPARATOR))
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = _list_texts(table[place])
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def _list_texts(column: pa.ChunkedArray) -> list[str | None]:
    """Lists as JSON text, each distinct one written once."""
    values, texts = column.to_pylist(), {}
    for value in values:
        if (key := repr(value)) not in texts:
            texts[key] = _text(value)
    return [texts[repr(value)] for value in values]


def _numbers(table: pa.Table, prefixes: Sequence[str]) -> pa.Table:
    """Columns with these prefixes as floats; those that are not numbers are dropped."""
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
    """Flat records as the table that Arrow makes of JSON."""
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
    """Whether a column has both whole and other numbers."""
    return {int, float} <= {type(value) for value in values}


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables below one another; a setting of several kinds becomes text."""
    kinds: dict[str, set[str]] = {}
    for table in tables:
        for field in table.schema:
            if not pa.types.is_null(field.type):
                kinds.setdefault(field.name, set()).add(_kind(field.type))
    both = {name for name, found in kinds.items() if len(found) > 1}
    texts = [_as_text(table, both.intersection(table.column_names)) for table in tables]
    return pa.concat_tables(texts, promote_options="permissive").combine_chunks()


def _kind(of: type | pa.DataType) -> str:
    """Text, bool or number: a column is of one kind."""
    if of is bool or (isinstance(of, pa.DataType) and pa.types.is_boolean(of)):
        return "bool"
    return (
        "text"
        if of is str or (isinstance(of, pa.DataType) and pa.types.is_string(of))
        else "number"
    )


def _text(value: Any) -> str | None:
    """A setting as text: lists as JSON, whole numbers without a point, as in identities."""
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
