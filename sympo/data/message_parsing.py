"""Messages in the forms people store them, parsed to one: role, content, and tool calls.

Accepts `role` and `content` as well as ShareGPT's `from` and `value`, content as a string or a list
of parts, and tool calls in OpenAI's form.
"""

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from sympo.data.text_pair import Message, TextPair
from sympo.types import BadInput

ROLES = ("system", "user", "assistant", "tool")
# other formats' names of the roles
CALLED = {
    **{"human": "user", "prompter": "user", "developer": "system"},
    **{"gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"},
    **{"function": "tool", "observation": "tool", "function_call": "assistant"},
}
TEXT_PARTS = (None, "text", "input_text", "output_text")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
DEEPEST_CALL = 50
COLUMNS_SHOWN = 20

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 60, 60


class Unusable(Exception):
    """Raised for a valid row that carries no preference: it is dropped and counted by reason."""


def value(row: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """A row's value at a key or a dotted path; raises BadInput if it is missing or of another type.

    A column named `a.b` takes precedence over the `b` inside `a`. NaN is how pandas writes a null.
    """
    found = row[key] if key in row else _inside(row, key)
    if isinstance(found, float) and math.isnan(found):
        found = None
    # bool is a subclass of int, but not a number here
    if not isinstance(found, kinds) or isinstance(found, bool):
        wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise BadInput(f"{key}={short(found)} must be of type {wanted}")
    return found


def messages(row: Mapping[str, Any], key: str) -> list[Message]:
    """A row's messages at a key: a list of them, or a single one.

    Raises BadInput for a broken message, Unusable for one without content or with other parts than
    text.
    """
    found = value(row, key, list, Mapping)
    return listed([found] if isinstance(found, Mapping) else found, key)


def listed(found: Sequence[Any], key: str) -> list[Message]:
    """Messages in our form; errors name `key`."""
    made = []
    for number, message in enumerate(found, 1):
        if not isinstance(message, Mapping):
            raise BadInput(f"message {number} of {key}, {short(message)}, must be of type dict")
        try:
            made.append(_message(message))
        except BadInput as error:
            raise BadInput(f"in message {number} of {key}, {error}") from error
    return made


def dialogue_pair(chosen: list[Message], rejected: list[Message]) -> TextPair:
    """Two whole dialogues as a pair: the prompt is all but the last message.

    Raises Unusable if a dialogue does not end with the assistant or the two prompts differ.
    """
    pair = TextPair(chosen[:-1], answer(chosen), answer(rejected))
    if chosen[:-1] != rejected[:-1]:
        raise Unusable("two different prompts")
    return pair


def answer(dialogue: list[Message]) -> str:
    """The assistant's text that ends a dialogue; raises Unusable if there is none."""
    if not dialogue or dialogue[-1]["role"] != "assistant":
        raise Unusable("no answer of the assistant at the end")
    if "tool_calls" in dialogue[-1]:
        raise Unusable("an answer that calls a tool")
    text: str = dialogue[-1]["content"]
    return text


def has_thoughts(row: Mapping[str, Any], key: str) -> bool:
    """Whether messages have thoughts besides their content, which `messages` ignores."""
    found = value(row, key, object)
    return any(
        isinstance(message, Mapping) and any(map(message.get, THOUGHTS))
        for message in (found if isinstance(found, list) else [found])
    )


def is_message(found: Any) -> bool:
    """Whether this looks like a message."""
    return isinstance(found, Mapping) and (
        {"role", "content"} <= found.keys() or {"from", "value"} <= found.keys()
    )


def short(content: Any) -> str:
    """A value as one short line, whatever its size and depth."""
    return text if len(text := _SHORT.repr(content)) <= 60 else f"{text[:57]}..."


def _inside(row: Mapping[str, Any], key: str) -> Any:
    place: Any = row
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if place is None:  # Arrow's value of a missing struct
            return None
        if not isinstance(place, Mapping) or part not in place:
            held = list(place)[:COLUMNS_SHOWN] if isinstance(place, Mapping) else []
            inside = ".".join(parts[:depth]) or "the row"
            raise BadInput(f"{key} is missing; {inside} has {', '.join(held) or 'nothing'}")
        place = place[part]
    return place


def _message(raw: Mapping[str, Any]) -> Message:
    role_key = "from" if raw.get("role") is None and "from" in raw else "role"
    role = value(raw, role_key, str)
    called = CALLED.get(role.lower(), role.lower())
    if called not in ROLES:
        raise BadInput(f"{role_key}={short(role)} is not one of {', '.join((*ROLES, *CALLED))}")
    calls = _calls(raw)
    key = "value" if raw.get("content") is None and "value" in raw else "content"
    if role.lower() == "function_call":  # ShareGPT stores the call as content
        calls, content = _parsed_calls(value(raw, key, str)), ""
    elif calls and raw.get(key) is None:
        content = ""
    else:
        content = _text(value(raw, key, str, list, Mapping, type(None)))
    names = {name: raw[name] for name in ("name", "tool_call_id") if raw.get(name)}
    made: Message = {"role": called, "content": content}
    if calls:
        made["tool_calls"] = calls
    # templates use a name only with a tool's result
    return made | {name: value(names, name, str) for name in names if called == "tool"}


def _text(content: str | list[Any] | Mapping[str, Any] | None) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise Unusable("a message without content")
    parts = [content] if isinstance(content, Mapping) else content
    return "".join(map(_part, parts))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise BadInput(f"content has a part {short(part)}, which must be of type str or dict")
    if part.get("type") not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise Unusable("a message with a part that is not text")
    text: str = part["text"]
    return text


def _calls(raw: Mapping[str, Any]) -> list[Any]:
    found = raw.get("tool_calls") or raw.get("function_call") or []
    if isinstance(found, str):
        return _parsed_calls(found)
    if not isinstance(found, list | Mapping):
        raise BadInput(f"tool_calls={short(found)} must be of type list")
    return [_call(one) for one in (found if isinstance(found, list) else [found])]


def _parsed_calls(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict | list) or not found:
        raise Unusable("a tool call that is not JSON")
    return [_call(one) for one in (found if isinstance(found, list) else [found])]


def _call(raw: Any) -> Any:
    """A tool call as chat templates expect it: arguments as an object, not as JSON text."""
    call = _filled(raw)
    if not isinstance(call, dict):
        raise BadInput(f"a tool call {short(raw)} must be of type dict")
    function = call.get("function", call)
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            return call
        if isinstance(arguments, dict):
            function["arguments"] = _filled(arguments)
    return call if "function" in call else {"type": "function", "function": call}


def _filled(content: Any, depth: int = 0) -> Any:
    """Plain values without the nulls that Arrow adds for keys of other rows."""
    if depth > DEEPEST_CALL:
        raise BadInput(f"a tool call is nested more than {DEEPEST_CALL} deep")
    if isinstance(content, Mapping):
        items = ((str(key), _filled(item, depth + 1)) for key, item in content.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(content, list | tuple):
        return [_filled(item, depth + 1) for item in content]
    if content is None or isinstance(content, str | int | float):
        return content
    raise BadInput(f"a tool call holds {short(content)}, a {type(content).__name__}")
