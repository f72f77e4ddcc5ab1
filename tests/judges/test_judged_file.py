"""What judging leaves in a run folder."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sympo.judges.cache import VerdictCache
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judging import judge_answers
from sympo.judges.metrics import judged_metrics
from sympo.judges.samples import Samples
from sympo.types import BadInput
from tests.judges.scripted import Scripted, line, longer


def judge_folder(folder: Path, judge: Scripted) -> JudgedFile:
    file, samples = JudgedFile(folder, "scripted", judge), Samples(folder, "last")
    cache = VerdictCache(folder / "verdicts.sqlite", judge)
    file.add(samples, judge_answers(judge, samples.lines("chosen"), cache, lambda *_: None))
    cache.close()
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        line(1, "a long answer", "short"),
        line(2, "short", "a long answer"),
        line(3, "another long one", "short"),
        line(4, "equal", "equal"),
    ]
    (tmp_path / "samples").mkdir()
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (tmp_path / "samples" / "last.jsonl").write_text(text)
    return tmp_path


def test_file_is_named_by_judge_and_settings(folder: Path) -> None:
    file = judge_folder(folder, Scripted(says=longer))
    assert file.path.parent == folder / "judges"
    assert file.path.name.startswith("scripted-") and file.path.suffix == ".json"
    other = JudgedFile(folder, "scripted", Scripted(says=longer, protocol="authors"))
    assert other.path != file.path
    # which samples are judged does not make it another judge
    assert JudgedFile(folder, "scripted", Scripted(says=longer, samples=["last"])).holds("last")


def test_metrics_by_hand(folder: Path) -> None:
    found = judge_folder(folder, Scripted(says=longer)).metrics("last")
    assert found["win_rate"] == (1 + 0 + 1 + 0.5) / 4
    assert found["tie_rate"] == 0.25 and found["invalid_rate"] == 0
    assert found["first_shown_wins"] == 0.5
    assert found["authors_win_rate"] == 0.5  # equal answers are no win
    assert found["win_rate_low"] is not None and found["win_rate_low"] < 0.625


def test_judge_of_places_is_seen(folder: Path) -> None:
    found = judge_folder(folder, Scripted(says=lambda _: 1.0)).metrics("last")
    assert found["first_shown_wins"] == 1
    assert found["win_rate"] == 0.5 and found["authors_win_rate"] == 0


def test_invalid_ones_are_counted_and_not_scored(folder: Path) -> None:
    silent = Scripted(says=lambda one: None if "1" in one.dialogue[0]["content"] else longer(one))
    file = judge_folder(folder, silent)
    found = file.metrics("last")
    assert found["invalid_rate"] == 0.25
    assert found["win_rate"] == (0 + 1 + 0.5) / 3
    assert not file.holds("last")  # asked again on the next run


def test_by_the_authors_protocol_invalid_is_a_loss_and_still_counted(folder: Path) -> None:
    file = judge_folder(folder, Scripted(says=lambda _: None, protocol="authors"))
    found = file.metrics("last")
    assert found["win_rate"] == 0 and found["invalid_rate"] == 0.75
    assert not file.holds("last")


def test_judged_before_a_moment_does_not_count_after_it(folder: Path) -> None:
    file = judge_folder(folder, Scripted(says=longer))
    assert file.holds("last", since=0) and not file.holds("last", since=time.time() + 1)


def test_dialogues_need_their_criterion(folder: Path) -> None:
    old = line(1, "yes", "no", prompt=[{"role": "user", "content": "?"}])
    path = folder / "samples" / "last.jsonl"
    path.write_text(json.dumps(old))
    with pytest.raises(BadInput, match="row 1 lacks criterion"):
        Samples(folder, "last").lines("chosen")
    path.write_text(json.dumps(old | {"criterion": "harmless"}))
    assert len(Samples(folder, "last").lines("chosen")) == 1


def test_nothing_valid_is_no_number() -> None:
    item = {
        "id": 1, "prompt": "x", "score": None, "length": 1, "other_length": 2,
        "verdicts": [{"policy_first": True, "choice": None}],
    }  # fmt: skip
    found = judged_metrics([item, item])
    assert found["invalid_rate"] == 1 and found["win_rate"] is None
    json.dumps(found, allow_nan=False)


def test_changed_samples_are_judged_anew(folder: Path) -> None:
    file = judge_folder(folder, Scripted(says=longer))
    assert file.holds("last") and not file.holds("selected")
    path = folder / "samples" / "last.jsonl"
    path.write_text(path.read_text().replace("another long one", "x"))
    assert not JudgedFile(folder, "scripted", Scripted(says=longer)).holds("last")


def test_any_character_may_stand_in_an_answer(folder: Path) -> None:
    odd = "one\u2028two\u0085three\rfour"
    path = folder / "samples" / "last.jsonl"
    path.write_text(json.dumps(line(1, odd, "short"), ensure_ascii=False) + "\n", newline="")
    assert [one["policy"] for one in Samples(folder, "last").lines("chosen")] == [odd]


def test_bad_rows_are_named(folder: Path) -> None:
    path = folder / "samples" / "last.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", lines[2]]))
    with pytest.raises(BadInput, match=r"last.jsonl row 2 is broken JSON"):
        Samples(folder, "last").lines("chosen")
    lacking = {key: value for key, value in json.loads(lines[1]).items() if key != "reference"}
    path.write_text("\n".join([lines[0], json.dumps(lacking)]))
    with pytest.raises(BadInput, match=r"row 2 lacks reference"):
        Samples(folder, "last").lines("reference")


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"score": 1.0', '"score": 0.0', 1),
        lambda text: "[" * 100_000,
        lambda text: "\x00" * 100,
    ],
)
def test_damaged_judged_file_is_set_aside_and_made_again(
    folder: Path, harm: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    file = judge_folder(folder, Scripted(says=longer))
    told, text = file.metrics("last"), file.path.read_text()
    other = file.path.with_name("human-1.json")
    other.write_text(text)
    file.path.write_text(harm(text))
    assert not file.holds("last") and file.samples == {}
    (line,) = caplog.messages
    assert f"{file.path} is damaged" in line and f"aside as {file.path.name}.damaged" in line
    judge = Scripted(says=longer)
    assert judge_folder(folder, judge).metrics("last") == told and not judge.asked
    assert file.holds("last") and other.read_text() == text


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda content: content[:100], "row 1 is broken JSON"),
        (lambda content: b"", "is empty"),
        (lambda content: b"\xff" + content[1:], "row 1 is broken JSON (UnicodeDecodeError)"),
        (lambda content: b"[" * 100_000, "row 1 is broken JSON (RecursionError)"),
        (lambda content: b"5\n", "row 1 lacks id"),
        (lambda content: content.replace(b'"short"', b"null"), "row 1: chosen='None'"),
        (
            lambda content: content.replace(
                b'"question 1"', b'[{"role": "user"}], "criterion": ""'
            ),
            "row 1: prompt=",
        ),
        (lambda content: content.replace(b'"id": 1', b'"id": []'), "row 1: id='[]'"),
    ],
)
def test_damaged_samples_are_named(
    folder: Path, harm: Callable[[bytes], bytes], words: str
) -> None:
    path = folder / "samples" / "last.jsonl"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(BadInput) as refused:
        Samples(folder, "last").lines("chosen")
    assert str(refused.value).startswith(str(path)) and words in str(refused.value)


def test_samples_that_the_run_did_not_write_are_named(folder: Path) -> None:
    digest = Samples(folder, "last").digest
    (folder / "summary.json").write_text(json.dumps({"files": {"samples/last.jsonl": digest}}))
    assert len(Samples(folder, "last").lines("chosen")) == 4
    path = folder / "samples" / "last.jsonl"
    path.write_text(path.read_text().replace("another long one", "another lonx one"))
    with pytest.raises(BadInput, match=r"last.jsonl is not what its run wrote"):
        Samples(folder, "last").lines("chosen")
