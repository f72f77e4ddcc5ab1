"""Messages of every form that public sets have."""

from typing import Any

import pytest

from sympo.data.message_parsing import Unusable, dialogue_pair, has_thoughts, messages, short, value
from sympo.data.text_pair import TextPair
from sympo.types import BadInput

ASKED = {"role": "user", "content": "Hi"}
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"q": "sea"}}}


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ({"role": "user", "content": "Hi", "name": "x", "id": 3}, ASKED),
        ({"from": "human", "value": "Hi"}, ASKED),
        ({"from": "Human", "value": "Hi", "role": None, "content": None}, ASKED),
        ({"from": "gpt", "value": "Hi"}, {"role": "assistant", "content": "Hi"}),
        ({"from": "system", "value": "Hi"}, {"role": "system", "content": "Hi"}),
        ({"role": "developer", "content": "Hi"}, {"role": "system", "content": "Hi"}),
        ({"from": "observation", "value": "Hi"}, {"role": "tool", "content": "Hi"}),
        ({"role": "user", "content": ["H", "i"]}, ASKED),
        (
            {"role": "user", "content": [
                {"type": "text", "text": "H", "image": None}, {"type": "text", "text": "i"},
            ]},
            ASKED,
        ),
        (
            {"role": "tool", "content": "12", "name": "look_up", "tool_call_id": "7"},
            {"role": "tool", "content": "12", "name": "look_up", "tool_call_id": "7"},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
        (
            {"role": "assistant", "tool_calls": [
                {"type": "function", "function": {"name": "look_up", "arguments": '{"q":"sea"}'}}
            ]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
        (
            {"from": "function_call", "value": '{"name": "look_up", "arguments": {"q": "sea"}}'},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
        ({"role": "assistant", "content": "Hi", "tool_calls": []},
         {"role": "assistant", "content": "Hi"}),
        # Arrow fills what other rows have
        (
            {"role": "assistant", "content": "", "tool_calls": [{
                "id": None, "type": "function",
                "function": {"name": "look_up", "arguments": {"q": "sea", "unit": None}},
            }]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
    ],
)  # fmt: skip
def test_every_form_of_a_message(raw: dict[str, Any], made: dict[str, Any]) -> None:
    assert messages({"m": [raw]}, "m") == [made]
    assert messages({"m": raw}, "m") == [made]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"role": "user", "content": None}, "without content"),
        ({"from": "human", "value": None}, "without content"),
        ({"role": "user", "content": [{"type": "image", "url": "x"}]}, "not text"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "not text"),
        ({"role": "tool", "content": {"temperature": 12}}, "not text"),
        ({"from": "function_call", "value": "look_up(sea)"}, "not JSON"),
    ],
)
def test_messages_that_cannot_be_used(raw: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        messages({"m": [ASKED, raw]}, "m")


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Hi", "m='Hi' must be of type list"),
        (["Hi"], "message 1 of m, 'Hi'"),
        ([ASKED, {"role": "user"}], "in message 2 of m, content is missing"),
        ([{"content": "Hi"}], "in message 1 of m, role is missing"),
        ([{"role": "king", "content": "Hi"}], "role='king' is not one of system, user"),
        ([{"role": "user", "content": 3}], "content=3 must be of type str"),
        ([{"role": "user", "content": [3]}], "part 3"),
        ([{"role": "assistant", "tool_calls": 3}], "tool_calls=3"),
        ([{"role": "assistant", "tool_calls": [{"a": nested(400)}]}], "nested more than 50"),
        (nested(900), "message 1 of m, "),
    ],
)
def test_broken_messages(wrong: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        messages({"m": wrong}, "m")
    assert len(str(error.value)) < 300


def test_nested_columns() -> None:
    row = {"input": {"text": "a", "more": None}, "input.flat": "b"}
    assert value(row, "input.text", str) == "a"
    assert value(row, "input.flat", str) == "b"
    assert value(row, "input.more.text", str, type(None)) is None
    for key, words in (
        ("input.title", "input.title is missing; input has text, more"),
        ("other.text", "other.text is missing; the row has input, input.flat"),
        ("input.text.a", "input.text.a is missing; input.text has nothing"),
    ):
        with pytest.raises(BadInput, match=words):
            value(row, key, str)


def test_dialogues() -> None:
    one, other = ({"role": "assistant", "content": text} for text in ("Yes", "No"))
    assert dialogue_pair([ASKED, one], [ASKED, other]) == TextPair([ASKED], "Yes", "No")
    for chosen, rejected, reason in (
        ([ASKED, one], [other], "two different prompts"),
        ([ASKED, one], [ASKED], "no answer"),
        ([ASKED, one], [], "no answer"),
        ([ASKED, one], [ASKED, {**other, "tool_calls": [CALL]}], "calls a tool"),
    ):
        with pytest.raises(Unusable, match=reason):
            dialogue_pair(chosen, rejected)


def test_thoughts_are_found() -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    assert has_thoughts({"a": {"b": [ASKED, answer]}}, "a.b")
    assert not has_thoughts({"a": [ASKED, {**answer, "reasoning_content": None}]}, "a")
    assert not has_thoughts({"a": "text"}, "a")


def test_long_and_deep_values_are_shown_short() -> None:
    assert len(short("a" * 10**6)) <= 60 and len(short(nested(900))) <= 60
