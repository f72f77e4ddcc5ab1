"""Odd replies, refusals and missing servers."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from sympo.judges.openai import PATIENCE, OpenAIJudge
from sympo.protocols.judging import JudgeStopped
from sympo.types import Verdict
from tests.judges.asking import LINES, comparisons, error, heard, judged, scripted
from tests.judges.openai_server import completion, running


def changed(**choice: Any) -> dict[str, Any]:
    body = completion("[[A]]")
    body["choices"][0] |= choice
    return body


def message(content: Any, **more: Any) -> dict[str, Any]:
    return changed(message={"role": "assistant", "content": content, **more})


TEXT = {"type": "text", "text": "One is clearer.\n"}


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "[[B]]"}]}


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        (message([THOUGHT, TEXT, {"type": "text", "text": "[[A]]"}]), 1.0),
        (message([{"type": "reasoning", "text": "[[B]]"}]), None),
        (message(["[[A]]", 5, None]), None),
        (message({"type": "text", "text": "[[B]]"}), 0.0),
        (message(None, reasoning_content="it is [[A]]"), None),
        (message("[[B]]", reasoning_content="it is [[A]]"), 0.0),
        (message(7), None),
        (changed(message=None), None),
        (changed(message=message("[[A]]")["choices"][0]["message"], finish_reason="length"), 1.0),
        (changed(message={"content": "So:\n[[A]]"}, finish_reason="length"), None),
        (changed(message={"content": "<think>\n[[A]]"}, finish_reason=["odd"]), None),
        ({**completion(""), "choices": []}, None),
        ({**completion(""), "choices": "none"}, None),
        ({**completion(""), "choices": [[]]}, None),
        ({"id": "x", "object": "chat.completion"}, None),
        ({**completion("[[A]]"), "usage": [1]}, 1.0),
        (PlainTextResponse(json.dumps(completion("[[A]]"))), 1.0),
        (PlainTextResponse(DEEP, media_type="application/json"), None),
        (PlainTextResponse('{"a":' * 900 + "1" + "}" * 900), None),
        (PlainTextResponse(json.dumps(completion("[[A]]"))[:-1] + f', "more": {DEEP}}}'), None),
        (PlainTextResponse(DEEP, 400), None),
    ],
)
def test_odd_replies_are_understood_or_invalid(said: Any, choice: float | None) -> None:
    with running(scripted(said)) as url:
        verdicts, stopped = heard(OpenAIJudge(base_url=url, max_retries=0), 2)
    assert not stopped
    assert [verdict.choice for verdict in verdicts.values()] == [choice, choice]
    assert all(verdict.raw for verdict in verdicts.values())


def test_what_a_server_says_is_shown_without_control_characters() -> None:
    said = PlainTextResponse("\x1b]0;title\x07 \x1b[31m \u202e gone", 404)
    with running(scripted(said)) as url:
        _, stopped = heard(OpenAIJudge(base_url=url, max_retries=0), 1)
    assert stopped.isprintable() and r"\x1b]0;title\x07" in stopped and r"\u202e" in stopped


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error("This model's maximum context length is 64 tokens.", 400), "context length"),
        (error("unprocessable", 422), "unprocessable"),
        (completion(None), "no text"),
        (completion("cannot compare these"), "cannot compare these"),
    ],
)
def test_refusal_of_one_request_is_invalid(said: Any, words: str) -> None:
    server = scripted(said)
    with running(server) as url:
        verdicts, stopped = heard(OpenAIJudge(base_url=url), 2)
    assert not stopped
    assert [verdict.choice for verdict in verdicts.values()] == [None, None]
    assert all(words in verdict.raw for verdict in verdicts.values())
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error("Incorrect API key", 401), ["OPENAI_API_KEY", "401"]),
        (error("no access", 403), ["OPENAI_API_KEY", "model=m"]),
        (error("no such model", 404), ["model=m", "base_url=http"]),
        (error("unsupported", 400, param="max_tokens"), ["refuses max_tokens", "unsupported"]),
        (error("pay", 429, code="insufficient_quota"), ["nothing left", "pay"]),
    ],
)
def test_what_no_request_would_get_past_stops_at_once(said: Any, words: list[str]) -> None:
    server = scripted(said)
    with running(server) as url:
        judge = OpenAIJudge(base_url=url, model="m", concurrency=2, max_retries=1)
        verdicts, stopped = heard(judge, 100)
    assert not verdicts
    assert all(word in stopped for word in [*words, "100 of 100"])
    assert len(server.bodies) <= 4


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error("slower", 429), "error 429"),
        (error("busy", 503), "error 503"),
        (PlainTextResponse("<html>a login page</html>"), "not a completion"),
        (PlainTextResponse("{", media_type="application/json"), "JSONDecodeError"),
        ({"error": {"message": "upstream"}}, "not a completion"),
    ],
)
def test_what_gets_no_answer_is_left_for_the_next_run(said: Any, words: str) -> None:
    def script(body: Any, headers: Any) -> Any:
        unlucky = "first 1\n" in body["messages"][0]["content"]
        return said if unlucky else completion("[[A]]")

    with running(scripted(script)) as url:
        verdicts, stopped = heard(OpenAIJudge(base_url=url, max_retries=1), 3)
    assert set(verdicts) == {0, 2}
    assert stopped.startswith("1 of 3 comparisons got no answer (last: ")
    assert words in stopped
    assert stopped.endswith("run again to ask for these")


def test_server_that_is_not_there() -> None:
    with running(scripted(completion("[[A]]"))) as url:
        pass
    started = time.monotonic()
    verdicts, stopped = heard(OpenAIJudge(base_url=url, max_retries=0, concurrency=4), 10_000)
    assert not verdicts
    assert "10,000 of 10,000" in stopped
    assert "Connection error" in stopped
    assert time.monotonic() - started < 0.1 * PATIENCE


def test_server_that_refuses_everything_stops_the_run() -> None:
    with running(scripted(error("no model of this name", 400))) as url:
        judge = OpenAIJudge(base_url=url, concurrency=4)
        with pytest.raises(JudgeStopped, match="refuses every request") as stopped:
            judge.compare(comparisons(500), lambda *_: None)
    assert stopped.value.final


def test_refusals_are_about_the_questions_where_verdicts_were_read_before() -> None:
    # a run that is left with what was filtered in the one before
    verdicts: dict[int, Verdict] = {}
    with running(scripted(error("filtered", 400))) as url:
        judge = OpenAIJudge(base_url=url, concurrency=4)
        judge.known_to_work()
        judge.compare(comparisons(2 * PATIENCE), verdicts.__setitem__)
    assert len(verdicts) == 2 * PATIENCE
    assert all(verdict.choice is None for verdict in verdicts.values())


def test_403_of_a_gateway_is_about_one_request_where_others_were_answered() -> None:
    def script(body: Any, headers: Any) -> Any:
        flagged = comparisons(8)[5].second in body["messages"][0]["content"]
        return error("flagged", 403) if flagged else completion("[[A]]")

    verdicts: dict[int, Verdict] = {}
    with running(scripted(script)) as url:
        OpenAIJudge(base_url=url, concurrency=1).compare(comparisons(8), verdicts.__setitem__)
    assert [verdicts[number].choice for number in range(8)] == [1.0] * 5 + [None] + [1.0] * 2


def test_half_a_character_in_a_reply_is_kept_as_a_mark(tmp_path: Path) -> None:
    body = json.dumps(completion("\ud83d [[A]]"))  # escaped, as JSON allows
    with running(scripted(PlainTextResponse(body, media_type="application/json"))) as url:
        items = judged(OpenAIJudge(base_url=url), tmp_path / "v.db", LINES[:2])
    assert all(item["score"] is not None for item in items)
