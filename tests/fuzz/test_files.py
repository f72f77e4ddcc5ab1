"""Files that are cut, garbled, of another kind, or no files at all."""

import codecs
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sympo.data.preferences import PreferenceSet
from sympo.data.row_sources import SUFFIXES, file_rows
from sympo.data.two_judges import TwoJudges
from sympo.data.ultrafeedback import UltraFeedback
from sympo.types import BadInput
from tests.fuzz.fuzzing import folder, fuzz, many, refusal
from tests.fuzz.strategies import plain
from tests.fuzz.test_rows import write

ROWS = [{"prompt": f"P {i} é🤖", "chosen": f"yes {i}, \"no\"\nnew\u2028line", "rejected": "日本"}
        for i in range(4)]  # fmt: skip


def whole(kind: str) -> bytes:
    """A sound file of a kind."""
    with folder() as place:
        file = place / f"a.{kind.removesuffix('.gz')}"
        write(file, ROWS, escaped=False)
        content = file.read_bytes()
    return gzip.compress(content, mtime=0) if kind.endswith(".gz") else content


KINDS = [suffix[1:] for suffix in SUFFIXES]
WHOLE = {kind: whole(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_are_read_whole(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    file.write_bytes(WHOLE[kind])
    assert [row for _, row in file_rows([file])] == ROWS


@many(80, 1500)
def test_cut_and_garbled_files(examples: int) -> None:
    def check(given: tuple[str, int, list[tuple[int, int]]]) -> None:
        kind, cut, flips = given
        content = bytearray(WHOLE[kind])
        for place, byte in flips:
            content[place % len(content)] ^= byte
        content = content[: cut % (len(content) + 1)] if cut else content
        with folder() as place:
            file = place / f"a.{kind}"
            file.write_bytes(content)
            found: list[Any] = []
            refused = refusal(lambda: found.extend(file_rows([file])), str(file))
            if refused is None and not flips:
                # only a cut between rows is not seen
                read = [row for _, row in found]
                if (
                    kind.startswith("csv")
                    and read
                    and ROWS[len(read) - 1]["rejected"].startswith(read[-1]["rejected"])
                ):  # nothing marks the end of a last cell
                    read[-1] = ROWS[len(read) - 1]
                assert read == ROWS[: len(read)]
                assert len(read) == len(ROWS) or kind in ("jsonl", "csv"), (kind, cut, read)
            refusal(PreferenceSet(path=str(file), validation_pairs=1).check)

    flips = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3)
    cases = st.tuples(st.sampled_from(KINDS), st.integers(0, 10**4), flips)
    fuzz(examples, cases, check)


def _converted(kind: str, change: str) -> bytes:
    content = ROWS_AS[kind]
    match change:
        case "bom":
            return codecs.BOM_UTF8 + content
        case "crlf":
            return content.replace(b"\n", b"\r\n")
        case "utf-16" | "utf-32" | "utf-16-le" | "shift-jis":
            return content.decode().encode(change, errors="replace")
        case "blank lines":
            return b"\n\n" + content.replace(b"\n", b"\n\n") + b"\n\n\n"
        case "twice":
            return content + (b"" if content.endswith(b"\n") else b"\n") + content
    return content


# the last character has other bytes in each encoding, and the one before has none in Shift JIS
_SIMPLE = [{"prompt": f"P {i}", "chosen": f"yes {i}", "rejected": "no é日"} for i in range(3)]
ROWS_AS = {
    "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in _SIMPLE).encode(),
    "json": json.dumps(_SIMPLE, ensure_ascii=False, indent=1).encode(),
    "csv": (
        "prompt,chosen,rejected\n" + "\n".join(",".join(row.values()) for row in _SIMPLE)
    ).encode(),
}


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("change", ["", "bom", "crlf", "blank lines"])
def test_what_editors_do_to_files_changes_no_row(tmp_path: Path, kind: str, change: str) -> None:
    file = tmp_path / f"a.{kind}"
    file.write_bytes(_converted(kind, change))
    assert [row for _, row in file_rows([file])] == _SIMPLE


@many(40, 500)
def test_files_of_another_kind(examples: int) -> None:
    def check(given: tuple[str, str, str, bytes]) -> None:
        kind, name, change, noise = given
        content = noise if kind == "noise" else _converted(kind, change)
        with folder() as place:
            file = place / f"a{name}"
            file.write_bytes(content)
            data = PreferenceSet(path=str(file), validation_pairs=1)
            if refusal(lambda: data.usable("train"), f"{place}/a") is None:
                wanted = [tuple(row.values()) for row in _SIMPLE]
                assert kind != "noise"
                assert [
                    (pair.prompt[0]["content"], pair.chosen, pair.rejected)
                    for pair in data.usable("train").pairs
                ] == wanted

    names = st.sampled_from([*SUFFIXES, ".txt", "", ".JSONL", ".tsv", ".gz", ".zip", ".json.bz2"])
    changes = st.sampled_from(
        ["", "bom", "crlf", "utf-16", "utf-32", "utf-16-le", "shift-jis", "blank lines"]
    )
    cases = st.tuples(st.sampled_from([*ROWS_AS, "noise"]), names, changes, st.binary(max_size=40))
    fuzz(examples, cases, check)


def _link(place: Path) -> None:
    (place / "a.jsonl").symlink_to(place / "a.jsonl")


def _broken_link(place: Path) -> None:
    (place / "a.jsonl").symlink_to(place / "gone.jsonl")


def _directory(place: Path) -> None:
    (place / "a.jsonl").mkdir()


def _pipe(place: Path) -> None:
    os.mkfifo(place / "a.jsonl")


def _empty(place: Path) -> None:
    (place / "a.jsonl").touch()


@pytest.mark.parametrize("make", [_link, _broken_link, _directory, _pipe, _empty])
def test_what_is_no_file_is_refused_by_its_name(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    said = refusal(PreferenceSet(path=str(tmp_path / "a.jsonl")).check, str(tmp_path / "a.jsonl"))
    assert said is not None
    if make is _pipe:
        assert said == f"path=a.jsonl is not a file: {tmp_path / 'a.jsonl'}"


def test_a_linked_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_bytes(ROWS_AS["jsonl"])
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "real.txt")
    assert len(PreferenceSet(path=str(tmp_path / "a.jsonl")).usable("train")) == 3


NAMES = st.sampled_from(
    ["train.jsonl", "test.jsonl", "train.csv", "train-00000-of-00002.parquet", "train-0.jsonl",
     "train-1.jsonl", "test-0.jsonl", "validation.jsonl", "data/train.jsonl", "data/test.json",
     "train_prefs.jsonl", "test_prefs.jsonl", "two_judges.jsonl", "README.md", "train.txt",
     "a.jsonl", "testing.jsonl", "train.jsonl.gz"]
)  # fmt: skip


@many(40, 500)
def test_folders(examples: int) -> None:
    def check(given: tuple[set[str], str, str | None]) -> None:
        names, train, test = given
        with folder() as place:
            for name in names:
                (place / name).parent.mkdir(exist_ok=True)
                suffix = name.split(".", 1)[1]
                content = ROWS_AS.get(suffix.removesuffix(".gz"), b"x")
                packed = gzip.compress(content) if suffix.endswith(".gz") else content
                (place / name).write_bytes(packed)
            data = PreferenceSet(path=str(place), train=train, test=test, validation_pairs=1)
            refusal(data.check)
            for other in (UltraFeedback(path=str(place)), TwoJudges(path=str(place))):
                refusal(other.check)
            if refusal(lambda: data.usable("train")) is None:
                parts = [name for name in names if Path(name).name.startswith(train)]
                assert data.usable("train").read in (3, 3 * len(parts))

    splits = st.one_of(st.sampled_from(["train", "test", "a", "train_prefs", "", "..", "*"]), plain)
    cases = st.tuples(st.sets(NAMES, max_size=4), splits, st.one_of(st.none(), splits))
    fuzz(examples, cases, check)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(ROWS_AS["jsonl"])
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(BadInput, match=r"a\.jsonl cannot be read"):
        PreferenceSet(path=str(file)).check()
