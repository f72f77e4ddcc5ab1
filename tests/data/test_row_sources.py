import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sympo.data.row_sources import file_rows, folder, held_splits, hub_rows, located, split_files
from sympo.types import BadInput, within

ROWS = [{"a": 1, "b": [{"c": "x"}]}, {"a": None, "b": []}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pd.DataFrame(ROWS).astype({"a": "Int64"}).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(LINES.encode()) if name.endswith(".gz") else LINES.encode())
    return path


@pytest.mark.parametrize(
    "name",
    ["test.jsonl", "test.jsonl.gz", "test.parquet", "data/test-00000-of-00001.parquet"],
)
def test_reads_every_kind(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    write(tmp_path, name.replace("test", "test_prefs"))
    assert split_files(tmp_path, "test") == [path]
    assert list(file_rows([path])) == [
        (f"{path} row {number}", row) for number, row in enumerate(ROWS, 1)
    ]


def test_parts_follow_each_other(tmp_path: Path) -> None:
    parts = [write(tmp_path, f"data/test-0000{i}-of-00002.parquet") for i in range(2)]
    assert split_files(tmp_path, "test") == parts
    assert len(list(file_rows(parts))) == 4


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text("\n" + LINES + "\n")
    assert [where for where, _ in file_rows([path])] == [f"{path} row 2", f"{path} row 3"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ["row 2", "broken JSON"]),
        ("a.jsonl", b'{"a": 1}\n[1]\n', ["row 2", "list"]),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', ["row 2", "broken encoding", "UTF-8", "0xff"]),
        ("a.jsonl", b"", ["empty"]),
        ("a.jsonl.gz", b"no gzip", ["cannot be read"]),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], ["cannot be read"]),
        ("a.parquet", b"no parquet", ["not a readable Parquet"]),
        ("a.parquet", b"", ["not a readable Parquet"]),
    ],
)
def test_damage_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=name) as error:
        list(file_rows([path]))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_missing_and_double_splits(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no test split.*test.jsonl"):
        split_files(tmp_path, "test")
    write(tmp_path, "test.jsonl")
    write(tmp_path, "data/test-00000-of-00001.parquet")
    with pytest.raises(BadInput, match=r"more than once: test.jsonl, data/test"):
        split_files(tmp_path, "test")


def test_splits_that_a_folder_holds(tmp_path: Path) -> None:
    for name in ("test.jsonl", "train_prefs.jsonl.gz", "data/val-00000-of-00001.parquet"):
        write(tmp_path, name)
    (tmp_path / "README.md").write_text("no data")
    assert held_splits(tmp_path) == ["test", "train_prefs", "val"]
    with pytest.raises(BadInput, match=r"holds no train split.*; it holds test, train_prefs, val$"):
        split_files(tmp_path, "train")
    with pytest.raises(BadInput, match=r"holds no \[a\] split"):
        split_files(tmp_path, "[a]")
    for name in ("/train", "../train", ""):
        with pytest.raises(BadInput, match=r"name of a split|holds no  split"):
            split_files(tmp_path, name)


@pytest.mark.parametrize("path", ["/nowhere", "~nobody-of-this-name/a", "a" * 300, "a\0b"])
def test_places_that_are_not_there(path: str) -> None:
    for find in (located, folder):
        with pytest.raises(BadInput, match=r"^path=") as error:
            find(path)
        assert str(error.value).isprintable()


def test_hub_rows_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, data_dir: str | None, split: str) -> Any:
        assert (name, data_dir, split) == ("someone/set", "part", "test")
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    rows = list(hub_rows("someone/set", "test", "part"))
    assert rows[1] == ("someone/set part test row 2", ROWS[1])


def test_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(*_: object, **__: object) -> Any:
        raise ConnectionError("no\nway")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(BadInput) as error, within("dataset"):
        list(hub_rows("someone/set", "test"))
    assert str(error.value) == (
        "dataset.path=null downloads someone/set, which is not cached and could not be downloaded "
        "(no way); give a local copy, dataset.path=FOLDER"
    )
