"""Files of every kind, whole and damaged."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sympo.data.row_sources import file_rows
from sympo.types import BadInput

ROWS = [{"a": f"{i}, é", "b": 'say "no"\nor not'} for i in range(3)]
CSV = "a,b\n" + "".join('"{}","{}"\n'.format(r["a"], r["b"].replace('"', '""')) for r in ROWS)
TEXTS = pa.array(["x", "y", "z"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", json.dumps({"rows": ROWS})),
        ("a.json", "\n".join(map(json.dumps, ROWS))),
        ("a.jsonl", "\ufeff" + "\n".join(map(json.dumps, ROWS))),
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV.replace("\n", "\r\n").replace('"no"\r', '"no"') + "\r\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_gives_the_same_rows(
    tmp_path: Path, name: str, content: str, packed: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    found = list(file_rows([path]))
    assert [{k: v.replace("\r", "") for k, v in row.items()} for _, row in found] == ROWS
    assert [where for where, _ in found] == [f"{path} row {i}" for i in (1, 2, 3)]


def test_an_object_is_a_row(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"}], "rejected": "No"}
    for one in (row, {"chosen": row["chosen"]}):
        (tmp_path / "a.json").write_text(json.dumps(one, indent=2))
        assert [found for _, found in file_rows([tmp_path / "a.json"])] == [one]


def test_cells_of_csv_are_texts_of_any_length(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"a,b\n2024-01-01,{'x' * 200_000}\n")
    [(_, row)] = file_rows([tmp_path / "a.csv"])
    assert row == {"a": "2024-01-01", "b": "x" * 200_000}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"{}\n" + b"[" * 100_000, "row 2 is broken JSON: it is nested too deep"),
        ("a.json", b"[" * 100_000, "is broken JSON: it is nested too deep"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}', "row 2 .*the key a more than once"),
        ("a.json", b'[{"a": 1}, [2]]', "row 2 is a list, not an object"),
        ("a.json", b'[{"a": 1}, {"a"', "is broken JSON"),
        ("a.json", b'{"a": 1}\n{"a"\n', "row 2 is broken JSON"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[]", "is empty"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,b\n", "is empty"),
        ("a.csv", b"a,b\n1,2\n3\n", "row 2 has 1 cells, its header 2"),
        ("a.csv", b"a,b,a\n1,2,3\n", "the column a more than once"),
        ("a.csv", b'a,b\n1,2\n"3,4\n', "row 2 is broken CSV"),
        ("a.csv", b"a,b\n1,2\n3,caf\xe9\n", "line 3 has a broken encoding.*UTF-8, byte 0xe9"),
        ("a.jsonl", b'{}\n{"a": "caf\xe9"}\n', "row 2 has a broken encoding: read as UTF-8"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "row 1 has a broken encoding.*like UTF-16"),
        ("a.json", '{"a": 1}\n'.encode("utf-32"), "line 1 has a broken encoding.*like UTF-32"),
    ],
)  # fmt: skip
def test_damage_is_one_sentence(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as error:
        list(file_rows([path]))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def broken_texts() -> pa.Array:
    whole = pa.array([b"x", b"caf\xe9", b"z"])
    return pa.StringArray.from_buffers(3, whole.buffers()[1], whole.buffers()[2])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"a": TEXTS, "b": broken_texts()},
            "row 2: b has a broken encoding: read as UTF-8, byte 0",
        ),
        (
            {"a": TEXTS, "b": pa.array([0, 2**62, 0]).cast(pa.timestamp("us"))},
            "row 2: b holds what cannot be read",
        ),
        (
            {"a": TEXTS, "b": pa.array([0, 0, 2**31 - 1], pa.int32()).cast(pa.date32())},
            "row 3: b holds what cannot be read",
        ),
        (
            {"b": pa.StructArray.from_arrays([TEXTS, TEXTS], names=["c", "c"])},
            "row 1: b holds what cannot be read.*duplicate",
        ),
    ],
)
def test_cells_of_parquet_that_cannot_be_read(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(BadInput, match=words) as error:
        list(file_rows([path]))
    assert "\n" not in str(error.value)


def test_double_columns_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_arrays([TEXTS, TEXTS], names=["a", "a"]), path)
    with pytest.raises(BadInput, match="the column a more than once"):
        list(file_rows([path]))
