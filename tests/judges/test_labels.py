"""Judging labelled pairs: planted judges, a server on loopback, and what is refused."""

from pathlib import Path

import pytest

from sympo.evaluation.label_agreement import label_agreement
from sympo.judges.judged_runs import Verdicts, judge_lines
from sympo.judges.labels import bound_to_labels, judge_labels, judged_labels, labels_estimate
from sympo.judges.openai import OpenAIJudge
from sympo.protocols.judging import JudgeStopped, LabelledPair
from sympo.seeding import generator
from sympo.types import BadArgument, BadInput, Comparison
from tests.judges.openai_server import Scripted as Server
from tests.judges.openai_server import completion, running
from tests.judges.scripted import Scripted, longer

# the chosen response is the longer one in 30 of 40 pairs
PAIRS = [
    LabelledPair(
        number, [{"role": "user", "content": f"question {number}"}],
        "good " * (3 if number % 4 else 1), "bad " * 2, subset="ab"[number % 2],
    )
    for number in range(40)
]  # fmt: skip


def right(comparison: Comparison) -> float:
    return float(comparison.first.startswith("good"))


def rows(judge: Scripted, folder: Path) -> dict[str, dict[str, float | str]]:
    judged = judge_labels(PAIRS, bound_to_labels(judge), Verdicts(folder / "verdicts.sqlite"))
    return {str(row["group"]): row for row in label_agreement(judged_labels(judged.items))}


def test_judges_that_agree_like_length_or_take_the_first(tmp_path: Path) -> None:
    found = rows(Scripted(says=right, name="right"), tmp_path)["all"]
    assert (found["agreement"], found["agreement_high"], found["first_shown_wins"]) == (1, 1, 0.5)
    assert found["prefers_longer"] == found["longer_chosen"] == 0.75
    by_group = rows(Scripted(says=longer, name="longer"), tmp_path)
    assert by_group["all"]["agreement"] == 0.75 and by_group["all"]["prefers_longer"] == 1
    # odd numbers are never divisible by four
    assert (by_group["a"]["agreement"], by_group["b"]["agreement"]) == (0.5, 1)
    found = rows(Scripted(says=lambda _: 1.0, name="first"), tmp_path)["all"]
    assert (found["agreement"], found["tie_rate"], found["first_shown_wins"]) == (0.5, 1, 1)


def test_a_judge_that_stops_is_asked_only_for_the_rest(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    judge = Scripted(says=right, stop_after=30)
    with pytest.raises(JudgeStopped, match="50 got no answer"):
        judge_labels(PAIRS, bound_to_labels(judge), verdicts)
    again = Scripted(says=right)
    judge_labels(PAIRS, bound_to_labels(again), verdicts)
    assert len(again.asked) == 50


def test_a_server_is_asked_once_and_its_cost_is_known_before(tmp_path: Path) -> None:
    def says(body: dict, headers: object) -> dict:
        text = body["messages"][-1]["content"]
        return completion("[[A]]" if text.index("good") < text.index("bad") else "[[B]]")

    server, verdicts = Server(says), Verdicts(tmp_path / "verdicts.sqlite")
    template = tmp_path / "judge.txt"
    template.write_text("{dialogue} {answer_a} or {answer_b}? [[A]] [[B]]")
    prompts = {"helpful": str(template), "harmless": str(template)}
    with running(server) as url:
        judge = bound_to_labels(OpenAIJudge(base_url=url, prompts=prompts))
        judge.check()
        assert "80" in labels_estimate(PAIRS, judge, verdicts)
        items = judge_labels(PAIRS, judge, verdicts).items
        assert [item["score"] for item in items] == [1.0] * 40
        judge_labels(PAIRS, judge, verdicts)
        assert len(server.bodies) == 80


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    with pytest.raises(BadArgument, match="protocol=authors shows the chosen response in one"):
        bound_to_labels(Scripted(says=right, protocol="authors"))
    with pytest.raises(BadInput, match="no labelled pairs"):
        judge_labels([], bound_to_labels(Scripted(says=right)), verdicts)
    with pytest.raises(JudgeStopped, match="no verdict could be parsed"):
        judge_labels(PAIRS, bound_to_labels(Scripted(says=lambda _: None)), verdicts)


def test_length_adjusted_win_rate_of_a_judge_that_only_likes_length() -> None:
    """Longer by one standard deviation wins 80%; the policy is mostly longer."""
    draw = generator(0, "length judge")
    lines = []
    for number in range(2000):
        apart = int(draw.normal(60, 100))
        size = 500 + apart
        lines.append(
            {"id": number, "prompt": f"q{number}", "policy": "p" * size, "chosen": "c" * 500}
        )
    luck = {line["prompt"]: draw.random() for line in lines}

    def likes_length(comparison: Comparison) -> float:
        apart = len(comparison.first) - len(comparison.second)
        sign = 1 if comparison.first.startswith("p") else -1
        share = 0.5 + 0.3 * max(-1, min(1, sign * apart / 100))
        policy_wins = luck[comparison.dialogue[0]["content"]] < share
        return float(policy_wins == (sign == 1))

    lines = [line for line in lines if len(line["policy"]) != 500]
    found = judge_lines(lines, Scripted(says=likes_length))
    assert found["win_rate"] is not None and found["win_rate"] > 0.6
    name = "length_adjusted_win_rate"
    low, value, high = (found[f"{name}{end}"] for end in ("_low", "", "_high"))
    assert value == pytest.approx(0.5, abs=0.025)
    assert low is not None and high is not None and low < 0.5 < high
