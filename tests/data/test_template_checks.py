"""What a chat template left out, and thoughts that are left open."""

from typing import Any

import pytest

from sympo.data.template_checks import THOUGHTS, left_out, open_thought


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(arguments: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "look_up", "arguments": arguments}}]


@pytest.mark.parametrize(
    ("dialogue", "text", "wanted"),
    [
        ([said("user", " Hi\n")], "[Hi]", None),
        ([said("user", "Hi"), said("assistant", "Ho")], "[Hi]", "assistant turns"),
        # a content counts once, and in its order
        ([said("user", "Hi"), said("assistant", "Hi")], "[Hi]", "assistant turns"),
        ([said("user", "Hi"), said("assistant", "Ho")], "[Ho][Hi]", "assistant turns"),
        # some templates write the system message into the last user turn
        ([said("system", "Be kind"), said("user", "A"), said("user", "B")], "[A][Be kind B]", None),
        ([said("system", "Be kind"), said("user", "A")], "[A]", "system turns"),
        ([said("tool", 'a "b"')], '["a \\"b\\""]', None),
        ([said("assistant", "<think>x</think> Ho")], "[Ho]", THOUGHTS),
        ([said("assistant", "<think>x</think> Ho")], "[<think>x</think> Ho]", None),
        ([said("assistant", "<think>x</think> Ho")], "[Hi]", "assistant turns"),
        ([said("assistant", "", tool_calls=call({"q": "sea", "n": 3}))], "look_up q sea n=3", None),
        ([said("assistant", "", tool_calls=call({"q": "sea"}))], "look_up q", "tool calls"),
        ([said("assistant", "", tool_calls=call({"q": "sea"}))], "q sea", "tool calls"),
        ([said("assistant", "", tool_calls=call('{"q": "a"}'))], 'look_up {"q": "a"}', None),
        ([said("assistant", "", tool_calls=call('{"q": "a"}'))], "look_up(q=a)", None),
        ([said("assistant", "", tool_calls=call("{broken"))], "look_up", "tool calls"),
        # calls may be written before what is said with them
        ([said("assistant", "Ho", tool_calls=call({"q": "sea"}))], "look_up q sea [Ho]", None),
    ],
)
def test_what_is_left_out(dialogue: list[dict[str, Any]], text: str, wanted: str | None) -> None:
    assert left_out(dialogue, text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("assistant:", None),
        ("assistant: <think>\n", ("<think>", "</think>")),
        ("assistant: <think>\n\n</think>\n\n", None),
        ("<think></think><think>", ("<think>", "</think>")),
        ("[THINK]", ("[THINK]", "[/THINK]")),
    ],
)
def test_open_thoughts(text: str, wanted: tuple[str, str] | None) -> None:
    assert open_thought(text) == wanted
