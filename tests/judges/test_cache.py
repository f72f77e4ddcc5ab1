"""Verdicts are kept under all that they depend on, and survive whatever comes."""

import hashlib
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sympo.judges.cache import VerdictCache
from sympo.types import BadInput, Comparison, Verdict
from tests.judges.scripted import Scripted, longer

ASKED = Comparison([{"role": "user", "content": "why?"}], "because", "no idea")


def cache(folder: Path, **settings: Any) -> VerdictCache:
    # unparsable replies come back, too
    return VerdictCache(folder / "verdicts.sqlite", Scripted(says=longer, **settings), retried=0)


def test_verdict_comes_back_with_its_words(tmp_path: Path) -> None:
    one = cache(tmp_path)
    said = Verdict(0.5, "both \U0001f937 \ud800 are [[C]]".encode("utf8", "replace").decode(), 7, 3)
    one.put(one.key(ASKED), said)
    one.close()
    again = cache(tmp_path)
    assert again.get([again.key(ASKED)]) == {again.key(ASKED): said}


def test_key_holds_all_that_a_verdict_depends_on(tmp_path: Path) -> None:
    one = cache(tmp_path)
    swapped = Comparison(ASKED.dialogue, ASKED.second, ASKED.first)
    harmless = Comparison(ASKED.dialogue, ASKED.first, ASKED.second, "harmless")
    longer = Comparison([*ASKED.dialogue, {"role": "assistant", "content": ""}], "because", "no")
    joined = Comparison(ASKED.dialogue, "becauseno ", "idea")
    keys = {one.key(asked) for asked in (ASKED, swapped, harmless, longer, joined)}
    keys.add(cache(tmp_path, name="other").key(ASKED))
    assert len(keys) == 6
    assert one.key(ASKED) == cache(tmp_path).key(ASKED)


def test_unparsed_verdict_is_replaced_by_a_parsed_one(tmp_path: Path) -> None:
    one = cache(tmp_path)
    key = one.key(ASKED)
    one.put(key, Verdict(None, "hm"))
    assert one.get([key])[key].choice is None
    one.put(key, Verdict(1.0, "[[A]]"))
    assert one.get([key])[key] == Verdict(1.0, "[[A]]")


def test_unparsed_and_old_verdicts_are_asked_for_again(tmp_path: Path) -> None:
    path, judge = tmp_path / "verdicts.sqlite", Scripted(says=longer)
    one = VerdictCache(path, judge)
    asked, unparsed = one.key(ASKED), one.key(Comparison([], "a", "b"))
    one.put(asked, Verdict(1.0, "[[A]]"))
    one.put(unparsed, Verdict(None, "hm"))
    assert set(one.get([asked, unparsed])) == {asked}
    just_now = time.time() - 60
    assert set(VerdictCache(path, judge, retried=just_now).get([asked, unparsed])) == {
        asked, unparsed
    }  # fmt: skip
    one.forget({asked: ASKED}, before=just_now)
    assert one.get([asked])
    one.forget({asked: ASKED}, before=time.time() + 60)
    assert not one.get([asked])


def test_many_keys_are_found_at_once(tmp_path: Path) -> None:
    one = cache(tmp_path)
    keys = [number.to_bytes(16, "big") for number in range(1300)]
    for key in keys:
        one.put(key, Verdict(1.0, ""))
    assert set(one.get([*keys, b"absent"])) == set(keys)


def _write_and_die(folder: Path) -> None:
    one = cache(folder)
    for number in range(100):
        one.put(number.to_bytes(16, "big"), Verdict(1.0, "x" * 1000))
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_process_loses_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=[tmp_path])
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(cache(tmp_path).get(n.to_bytes(16, "big") for n in range(100))) == 100


def test_file_says_which_judge_said_what(tmp_path: Path) -> None:
    one = cache(tmp_path, name="m")
    one.put(one.key(ASKED), Verdict(0.0, "[[B]]"))
    one.close()
    rows = sqlite3.connect(tmp_path / "verdicts.sqlite").execute(
        "SELECT settings, raw FROM verdicts JOIN judges USING (judge)"
    )
    assert rows.fetchall() == [('{"judge": "scripted", "name": "m"}', "[[B]]")]


KEYS = [hashlib.blake2b(bytes([number % 256, number // 256]), digest_size=16).digest()
        for number in range(1000)]  # fmt: skip


def said(key: bytes) -> Verdict:
    return Verdict(float(key[-1] % 2), f"{key.hex()} " * 5, 7, 3)


def filled(folder: Path) -> Path:
    one = cache(folder)
    for key in KEYS:
        one.put(key, said(key))
    one.close()
    return folder / "verdicts.sqlite"


def flip(path: Path, places: range) -> None:
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "least"),
    [
        (lambda path: path.write_bytes(b"garbage" * 3000), 0),
        (lambda path: path.write_bytes(b""), 0),
        (lambda path: flip(path, range(16)), 0),
        (lambda path: os.truncate(path, path.stat().st_size // 2 + 100), 300),
        (lambda path: flip(path, range(30 * 4096, 31 * 4096)), 900),
    ],
    ids=["garbage", "empty", "header", "cut", "one page"],
)
def test_damaged_file_is_set_aside_and_what_can_be_read_is_kept(
    tmp_path: Path, harm: Callable[[Path], None], least: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    harm(path)
    harmed = path.read_bytes()
    one = cache(tmp_path)
    found = one.get(KEYS)
    assert len(found) >= least and all(verdict == said(key) for key, verdict in found.items())
    assert (tmp_path / "verdicts.sqlite.damaged").stat().st_size == len(harmed)
    (line,) = caplog.messages
    assert f"{path} is damaged" in line and "set aside as verdicts.sqlite.damaged" in line
    assert f"{len(found):,} verdicts could be read" in line and "\n" not in line
    one.put(KEYS[0], Verdict(0.5, "again"))
    one.close()
    again = cache(tmp_path)
    assert again.get(KEYS) == found | {KEYS[0]: Verdict(0.5, "again")}
    path.write_bytes(b"once more")
    again = cache(tmp_path)
    assert again.get(KEYS) == {} and (tmp_path / "verdicts.sqlite.damaged-2").is_file()


def test_damage_that_shows_while_judging_stops_nothing(tmp_path: Path) -> None:
    one = cache(tmp_path / "before")
    path, there = filled(tmp_path), cache(tmp_path)
    one.close()
    flip(path, range(2 * 4096, 40 * 4096))
    there.put(KEYS[0], Verdict(0.5, "again"))
    assert there.get(KEYS)[KEYS[0]] == Verdict(0.5, "again")
    assert all(there.get([key]).get(key, said(key)) == said(key) for key in KEYS[1:])


@pytest.mark.parametrize(
    "harm", ["choice = 1 - choice", "choice = 7", "raw = 'other'", "prompt_tokens = -1"]
)
def test_damaged_row_is_asked_for_again(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE verdicts SET {harm} WHERE key = ?", [KEYS[5]])
    db.close()
    assert set(cache(tmp_path).get(KEYS)) == set(KEYS) - {KEYS[5]}
    assert caplog.messages == [f"{path} holds damaged verdicts, which are asked again"]


def test_file_older_than_digests_is_read_and_written(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE verdicts DROP COLUMN digest")
    db.close()
    one = cache(tmp_path)
    assert one.get(KEYS) == {key: said(key) for key in KEYS}
    one.put(KEYS[0], Verdict(None, "hm"))
    assert one.get(KEYS[:1]) == {KEYS[0]: Verdict(None, "hm")}


def test_what_is_no_file_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "verdicts.sqlite").mkdir()
    with pytest.raises(BadInput, match=r"verdicts.sqlite cannot be opened"):
        cache(tmp_path)
    assert (tmp_path / "verdicts.sqlite").is_dir()
