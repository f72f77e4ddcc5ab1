"""The spending limit, and the charge for replies without a token count."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from sympo.judges.openai import OpenAIJudge
from sympo.protocols.judging import JudgeStopped
from sympo.types import Verdict
from tests.judges.asking import LINES, heard, judged, scripted
from tests.judges.openai_server import completion, running


def test_ceiling(tmp_path: Path) -> None:
    lines = LINES[:20]
    server = scripted(completion("[[A]]", prompt_tokens=1000, completion_tokens=100))
    with running(server) as url:
        settings: dict[str, Any] = {
            "base_url": url,
            "concurrency": 8,
            "price_per_million_prompt_tokens": 1.0,
            "price_per_million_completion_tokens": 10.0,
        }
        # a verdict is 0.002, and a request in flight may come to three times as much
        judge = OpenAIJudge(**settings, max_cost=0.05)
        with pytest.raises(JudgeStopped) as stopped:
            judged(judge, tmp_path / "verdicts.db", lines)
        asked = len(server.bodies)
        assert 20 <= asked <= 25
        assert judge.spending.dollars == pytest.approx(0.002 * asked)
        assert judge.spending.reserved == pytest.approx(0)
        assert f"{40 - asked} of 40 comparisons got no answer" in str(stopped.value)
        assert "max_cost=0.05: the next question may cost" in str(stopped.value)
        with pytest.raises(JudgeStopped):
            judged(judge, tmp_path / "verdicts.db", lines)
        assert len(server.bodies) == asked, "the ceiling is that of the program's run"
        items = judged(OpenAIJudge(**settings, max_cost=1), tmp_path / "verdicts.db", lines)
    assert len(server.bodies) == 40
    assert all(item["score"] == 0.5 for item in items)


def test_ceiling_without_counts() -> None:
    body = completion("[[A]]")
    del body["usage"]
    with running(scripted(body)) as url:
        verdicts, said = heard(OpenAIJudge(base_url=url, max_cost=0.005), 100)
    assert "max_cost" in said
    assert 0 < len(verdicts) < 20


HUGE = "9" * 6000


@pytest.mark.parametrize(
    "usage",
    [
        "-1000000000",
        "1e400",
        "-1e400",
        "NaN",
        '"5"',
        "true",
        "0.5",
        "[]",
        "null",
        f"1{10**20}",
        HUGE,
    ],
)
def test_counts_that_cannot_be_do_not_lift_the_ceiling(usage: str) -> None:
    body = json.dumps(completion("[[A]]")).replace("100,", f"{usage},").replace("10,", f"{usage},")
    assert body.count(usage) == 2
    server = scripted(PlainTextResponse(body, media_type="application/json"))
    with running(server) as url:
        judge = OpenAIJudge(base_url=url, max_cost=0.005, concurrency=2)
        verdicts, said = heard(judge, 100)
    assert 5 < len(verdicts) < 20
    assert all(v == Verdict(1.0, "[[A]]") for v in verdicts.values())
    assert "max_cost=0.005: the next question may cost" in said
    assert f"({len(verdicts)} replies without a usable token count" in said
    assert 0.004 < judge.spending.dollars <= 0.005


def test_one_count_that_cannot_be_costs_the_most_that_it_can() -> None:
    prices = {"price_per_million_prompt_tokens": 0.0, "price_per_million_completion_tokens": 1.0}
    with running(scripted(completion("[[A]]", completion_tokens=-5))) as url:
        judge = OpenAIJudge(base_url=url, max_tokens=256, **prices)
        heard(judge, 1)
    assert judge.spending.dollars == pytest.approx(256e-6)
    assert judge.spending.prompt_tokens == 100
