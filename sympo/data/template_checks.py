"""Checks of chat templates: what they leave out of a dialogue, and thoughts that they open."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# <think>, [THINK] and the like, which a model fills before it responds
THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>|\[(THINK)\]")
END_OF_THOUGHT = "</think>"
THOUGHTS = "thoughts"


def open_thought(text: str) -> tuple[str, str] | None:
    """The tag of a thought that a text opens and does not close, and the tag that closes it."""
    found = None
    for mark in THOUGHT.finditer(text):
        close = f"{mark[0][0]}/{mark[0][1:]}"
        found = (mark[0], close) if close not in text[mark.end() :] else None
    return found


def left_out(dialogue: Sequence[Mapping[str, Any]], text: str) -> str | None:
    """What a template left out of the text of a dialogue, in words; None if nothing.

    The text must contain all contents in order, up to white space around them; system messages may
    be anywhere, since some templates move them into a turn. Of tool calls it must contain the name
    and every value of the arguments. THOUGHTS if only thoughts of earlier turns are missing.
    """
    place, thoughts = 0, None
    for message in dialogue:
        content, anywhere = message["content"].strip(), message["role"] == "system"
        end = _after(text, content, 0 if anywhere else place)
        if end < 0 and END_OF_THOUGHT in content:
            thoughts = THOUGHTS
            end = _after(text, content.rpartition(END_OF_THOUGHT)[2].strip(), place)
        if end < 0:
            return f"{message['role']} turns"
        if not all(_calls(call, text, place) for call in message.get("tool_calls") or ()):
            return "tool calls"
        place = place if anywhere else end
    return thoughts


def _after(text: str, content: str, start: int) -> int:
    """Where the first occurrence of a content ends, plain or JSON-escaped; -1 if there is none."""
    found = text.find(content, start)
    if found < 0:
        content = json.dumps(content, ensure_ascii=False)[1:-1]
        found = text.find(content, start)
    return found if found < 0 else found + len(content)


def _calls(call: Mapping[str, Any], text: str, start: int) -> bool:
    """Whether a text contains the name of a tool call and all of its arguments."""
    function = call.get("function", call)
    name, arguments = str(function.get("name", "")), function.get("arguments")
    if _after(text, name, start) < 0:
        return False
    if isinstance(arguments, str):
        if _after(text, arguments, start) >= 0:
            return True
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return False
    return all(_after(text, said, start) >= 0 for said in _said(arguments))


def _said(value: Any) -> Iterator[str]:
    """The keys, strings and numbers in a JSON value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _said(item)
    elif isinstance(value, list):
        for item in value:
            yield from _said(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)
