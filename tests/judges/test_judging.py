"""From samples to items: orders, ties, what is asked, what is kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sympo.judges.cache import VerdictCache
from sympo.judges.judging import Judged, comparison, judge_answers
from sympo.protocols.judging import JudgeStopped, OnVerdict
from sympo.types import BadInput, Comparison, Verdict
from tests.judges.scripted import Scripted, line, longer

LINES = [
    line(1, "a long answer", "short"),
    line(2, "short", "a long answer"),
    line(3, "same size", "size same"),
    line(4, "equal", "equal"),
]


def judge_all(judge: Scripted, folder: Path, lines: list | None = None) -> Judged:
    cache = VerdictCache(folder / "verdicts.sqlite", judge)
    try:
        return judge_answers(judge, LINES if lines is None else lines, cache, lambda *_: None)
    finally:
        cache.close()


def scores(judged: Judged) -> list[float | None]:
    return [item["score"] for item in judged.items]


def test_comparison_holds_the_whole_dialogue() -> None:
    dialogue = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    made = comparison(line(1, "p", "c", prompt=dialogue, criterion="harmless"), "chosen", False)
    assert made.dialogue == dialogue
    assert (made.first, made.second, made.criterion) == ("c", "p", "harmless")
    plain = comparison(line(1, "p", "c"), "reference", True)
    assert plain.dialogue == [{"role": "user", "content": "question 1"}]
    assert (plain.first, plain.second, plain.criterion) == ("p", "perhaps", "helpful")


def test_both_orders_are_asked_and_equal_answers_are_not(tmp_path: Path) -> None:
    judge = Scripted(says=longer)
    judged = judge_all(judge, tmp_path)
    assert scores(judged) == [1.0, 0.0, 0.5, 0.5]
    assert [(one.first, one.second) for one in judge.asked[:2]] == [
        ("a long answer", "short"), ("short", "a long answer")
    ]  # fmt: skip
    assert len(judge.asked) == 6
    assert judged.items[0]["verdicts"] == [
        {"policy_first": True, "choice": 1.0}, {"policy_first": False, "choice": 0.0}
    ]  # fmt: skip
    assert judged.items[3]["verdicts"] == []
    assert judged.items[0]["length"] == 13 and judged.items[0]["other_length"] == 5
    assert (judged.prompt_tokens, judged.completion_tokens) == (60, 6)


def test_judge_of_places_only_gives_ties(tmp_path: Path) -> None:
    assert scores(judge_all(Scripted(says=lambda _: 1.0), tmp_path)) == [0.5] * 4


def test_protocol_of_the_authors_on_the_same_verdicts(tmp_path: Path) -> None:
    judge_all(Scripted(says=longer), tmp_path)
    theirs = Scripted(says=longer, protocol="authors")
    assert scores(judge_all(theirs, tmp_path)) == [1.0, 0.0, 0.0, 0.0]
    assert theirs.asked == []  # the second order was asked before


def test_what_was_asked_is_not_asked_again(tmp_path: Path) -> None:
    first = judge_all(Scripted(says=longer), tmp_path)
    again = Scripted(says=longer)
    assert judge_all(again, tmp_path) == first
    assert again.asked == []
    other = Scripted(says=longer, name="another")
    judge_all(other, tmp_path)
    assert len(other.asked) == 6


def test_stopped_judge_goes_on_where_it_was(tmp_path: Path) -> None:
    stopped = Scripted(says=longer, stop_after=4)
    with pytest.raises(JudgeStopped, match="2 got no answer"):
        judge_all(stopped, tmp_path)
    rest = Scripted(says=longer)
    assert scores(judge_all(rest, tmp_path)) == [1.0, 0.0, 0.5, 0.5]
    assert len(rest.asked) == 2
    assert not [one for one in rest.asked if one in stopped.asked]


def test_unparsed_verdicts_are_counted_and_asked_again(tmp_path: Path) -> None:
    silent = Scripted(says=lambda one: None if "1" in one.dialogue[0]["content"] else longer(one))
    assert scores(judge_all(silent, tmp_path)) == [None, 0.0, 0.5, 0.5]
    again = Scripted(says=longer)
    assert scores(judge_all(again, tmp_path)) == [1.0, 0.0, 0.5, 0.5]
    assert len(again.asked) == 2


def test_one_question_is_asked_once(tmp_path: Path) -> None:
    judge = Scripted(says=longer)
    assert scores(judge_all(judge, tmp_path, [LINES[0]] * 3)) == [1.0] * 3
    assert len(judge.asked) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"against": "nobody"}, "against=nobody"),
        ({"protocol": "fair"}, "protocol=fair"),
        ({"samples": []}, r"samples=\[\]"),
        ({"samples": ["best"]}, "samples"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Scripted(says=longer, **settings).check()


class Careless(Scripted):
    """Reports what `says` returns, and only on every second comparison."""

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        for number, one in enumerate(comparisons):
            if number % 2 == 0:
                on_verdict(number, self.says(one))  # type: ignore[arg-type]


def test_a_judge_that_reports_too_little_or_the_wrong_thing(tmp_path: Path) -> None:
    def verdict(_: Comparison) -> Any:
        return Verdict(1.0, "A")

    words = (
        "Careless.compare reported no verdict for 3 of 6 comparisons, the first of them number 1"
    )
    with pytest.raises(JudgeStopped, match=words):
        judge_all(Careless(says=verdict), tmp_path / "few")
    with pytest.raises(TypeError, match="reported 'A' for comparison 0; it must be a Verdict"):
        judge_all(Careless(says=lambda _: "A"), tmp_path / "odd")  # type: ignore[arg-type]
