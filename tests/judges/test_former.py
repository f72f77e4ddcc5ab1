"""Verdicts outlive the code that wrote them: what was paid for is never asked again."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sympo.evaluation.judged_content import read
from sympo.judges import Judge, OnVerdict, OpenAIJudge, Verdicts, judge_run
from sympo.judges.cache import VerdictCache
from sympo.judges.human.judge import Human
from sympo.judges.human.page import CRITERIA
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judging import comparison, judge_answers
from sympo.judges.metrics import judged_metrics
from sympo.judges.samples import Samples
from sympo.types import Comparison, Verdict
from tests.judges import old_format
from tests.judges.made_study import made_run
from tests.judges.scripted import line

LINES = [line(1, "a long answer", "short"), line(2, "short", "a long answer")]
SHOWN = [comparison(one, "chosen", first) for one in LINES for first in (True, False)]
PAID = [(one, Verdict(float(n % 2), f"words {n}", 7, 3)) for n, one in enumerate(SHOWN)]


@dataclass(frozen=True, kw_only=True)
class Longer(Judge):
    """A user's judge; its answers are counted."""

    by: int = 1
    asked: ClassVar[list[Comparison]] = []

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        for number, one in enumerate(comparisons):
            self.asked.append(one)
            on_verdict(number, Verdict(float(len(one.first) > len(one.second)), "counted"))


@dataclass(frozen=True, kw_only=True)
class Renamed(Longer):
    """The same after a refactoring: another name and another setting."""

    identity: ClassVar[str] = "longer"

    ignore_spaces: bool = False


@pytest.fixture(autouse=True)
def nothing_asked_yet() -> None:
    Longer.asked.clear()


def asked(path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many questions a judge is asked about LINES."""
    counted: list[Comparison] = []

    def compare(self: Judge, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        counted.extend(comparisons)
        for number in range(len(comparisons)):
            on_verdict(number, Verdict(1.0, "asked again"))

    monkeypatch.setattr(type(judge), "compare", compare)
    cache = VerdictCache(path, judge)
    judge_answers(judge, LINES, cache, lambda *_: None)
    cache.close()
    return len(counted)


@pytest.fixture
def openai_judge(monkeypatch: pytest.MonkeyPatch) -> OpenAIJudge:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return OpenAIJudge()


def test_key_holds_a_name_and_what_differs(openai_judge: OpenAIJudge) -> None:
    fixed = {
        "judge": "openai", "base_url": "https://api.openai.com/v1", "model": "gpt-4o-mini",
        "prompts": openai_judge.templates,
    }  # fmt: skip
    assert openai_judge.key() == fixed
    assert OpenAIJudge(temperature=1.0).key() == {**fixed, "temperature": 1}
    assert Longer().key() == {"judge": "longer"}
    assert Longer(by=2).named("my_longer").key() == {"judge": "my_longer", "by": 2}
    assert Renamed().named("any").key() == {"judge": "longer"}
    assert Human().key() == {"judge": "human", "criteria": CRITERIA}


def test_paid_verdicts_of_older_versions_are_found(
    tmp_path: Path, openai_judge: OpenAIJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verdicts.sqlite"
    old_format.write_verdicts(path, old_format.openai_key(openai_judge.templates), PAID)
    assert asked(path, openai_judge, monkeypatch) == 0
    cache = VerdictCache(path, openai_judge)
    keys = {cache.key(one): one for one in SHOWN}
    # under today's key from now on, with words and tokens
    assert cache.get(keys) == {cache.key(one): verdict for one, verdict in PAID}
    cache.close()
    for other in ({"temperature": 1.0}, {"model": "m"}, {"base_url": "http://a/v1"}):
        assert asked(tmp_path / "verdicts.sqlite", OpenAIJudge(**other), monkeypatch) == len(SHOWN)


def test_older_settings_that_differ_are_found_too(
    tmp_path: Path, openai_judge: OpenAIJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verdicts.sqlite"
    told = {"base_url": "http://a/v1", "model": "m", "temperature": 1.0, "seed": None}
    old_format.write_verdicts(path, old_format.openai_key(openai_judge.templates, **told), PAID)
    assert asked(path, openai_judge, monkeypatch) == len(SHOWN)
    assert asked(path, OpenAIJudge(**told), monkeypatch) == 0


def test_force_drops_older_verdicts_too(tmp_path: Path, openai_judge: OpenAIJudge) -> None:
    path = tmp_path / "verdicts.sqlite"
    old_format.write_verdicts(path, old_format.openai_key(openai_judge.templates), PAID)
    cache = VerdictCache(path, openai_judge)
    keys = {cache.key(one): one for one in SHOWN}
    cache.forget(keys, time.time() + 1)
    assert not cache.find(keys)


@pytest.mark.parametrize("home", ["no_such_module", "tests.judges.no_such", __name__])
@pytest.mark.parametrize("judge", [Longer(), Renamed()])
def test_class_that_moved_is_not_asked_again(tmp_path: Path, home: str, judge: Longer) -> None:
    path = tmp_path / "verdicts.sqlite"
    old_format.write_verdicts(path, {"judge": f"{home}.Longer", "by": 1}, PAID)
    cache = VerdictCache(path, judge)
    # the class that is still there is another one than its successor
    still_there = home == __name__ and type(judge) is Renamed
    assert len(cache.find({cache.key(one): one for one in SHOWN})) == len(SHOWN) * (not still_there)


def test_new_setting_at_its_default_asks_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verdicts.sqlite"
    assert asked(path, Longer(), monkeypatch) == len(SHOWN)
    assert asked(path, Renamed(), monkeypatch) == 0
    assert asked(path, Renamed(ignore_spaces=True), monkeypatch) == len(SHOWN)


def test_class_of_the_same_name_elsewhere_is_another_judge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "verdicts.sqlite"
    old_format.write_verdicts(path, {"judge": "tabnanny.Longer", "by": 1}, PAID)
    for _ in range(2):
        cache = VerdictCache(path, Longer())
        assert not cache.find({cache.key(one): one for one in SHOWN})
    (words,) = caplog.messages
    assert "tabnanny still exists, so its Longer may be another class" in words
    assert "cannot be translated" in words


def test_setting_that_is_gone_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "verdicts.sqlite"
    old_format.write_verdicts(path, {"judge": f"{__name__}.Longer", "by": 1, "gone": 0}, PAID)
    old_format.write_verdicts(path, {"judge": "quite.Another", "by": 1, "gone": 0}, PAID)
    cache = VerdictCache(path, Longer())
    assert not cache.find({cache.key(one): one for one in SHOWN})
    (words,) = caplog.messages
    assert words.count("(") == 1 and "(the class no longer has the setting gone)" in words


def old_samples(folder: Path) -> dict[str, Any]:
    items = [
        {
            "id": one["id"], "prompt": f"{one['id']:016d}", "score": 1.0, "length": 3,
            "other_length": 4, "verdicts": [{"policy_first": True, "choice": 1.0}],
        }
        for one in LINES
    ]  # fmt: skip
    return {
        "last": {
            "digest": Samples(folder, "last").digest, "judged": 1.0, "prompt_tokens": 5,
            "completion_tokens": 6, "metrics": judged_metrics(items), "items": items,
        }
    }  # fmt: skip


def test_judged_file_of_an_older_version_is_renamed_and_kept(
    tmp_path: Path, openai_judge: OpenAIJudge, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made_run(tmp_path, "ramp", 0.3, 0, LINES)
    key = old_format.openai_key(openai_judge.templates)
    old = old_format.write_judged(folder, "openai", key, old_samples(folder))
    old_format.write_judged(folder, "openai", {**key, "model": "other"}, old_samples(folder))
    old_format.write_judged(folder, "openai", key, old_samples(folder), protocol="authors")
    before = json.loads(old.read_text())
    # analysis reads both alike, before and after
    config = read(old.read_bytes())["config"]
    judge, verdicts = OpenAIJudge(samples=["last"]), Verdicts(tmp_path / "verdicts.sqlite")
    assert JudgedFile(folder, "openai", judge).holds("last")
    found = judge_run(folder, judge, verdicts=verdicts)  # there is no server to ask
    assert not found.fresh and found.metrics["last"]["win_rate"] == 1
    assert not old.exists() and len(list((folder / "judges").iterdir())) == 3
    new = read(JudgedFile(folder, "openai", judge).path.read_bytes())
    assert new["config"] == config
    assert all(new[name] == before[name] for name in before.keys() - {"config", "content_digest"})
    assert not caplog.messages


def test_peoples_verdicts_of_older_versions_are_kept(tmp_path: Path) -> None:
    folder = made_run(tmp_path, "ramp", 0.3, 0, LINES)
    key = {"judge": "sympo.judges.human.judge.Human", "criteria": CRITERIA}
    old_format.write_judged(folder, "human", key, old_samples(folder), protocol="one_order")
    file = JudgedFile(folder, "human", Human())
    file.adopt()
    assert file.holds("last") and [file.path] == list((folder / "judges").iterdir())
    other = JudgedFile(folder, "human", Human(against="reference"))
    assert not other.samples
