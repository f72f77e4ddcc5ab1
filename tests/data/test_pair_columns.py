"""What the columns of a row say together."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from sympo.data.message_parsing import Unusable
from sympo.data.pair_columns import answers, gap, joined, said, with_system, without_prompt
from sympo.data.text_pair import TextPair
from sympo.types import BadInput

BRIEF = {"role": "system", "content": "Be brief."}
ASKED, YES, NO = (
    {"role": role, "content": text}
    for role, text in (("user", "Hi"), ("assistant", "Yes"), ("assistant", "No"))
)
CALLED = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
RESULT = {"role": "tool", "content": "12"}
BEFORE = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("Yes", "No", [ASKED]),
        ([YES], [NO], [ASKED]),
        ([ASKED, YES], [NO], [ASKED]),
        ([ASKED, YES], [ASKED, NO], [ASKED]),
        ([BRIEF, ASKED, YES], [BRIEF, ASKED, NO], [BRIEF, ASKED]),
        ([*BEFORE, ASKED, YES], [*BEFORE, ASKED, NO], [*BEFORE, ASKED]),
        ([ASKED, *BEFORE[::-1], YES], [ASKED, *BEFORE[::-1], NO], [ASKED, *BEFORE[::-1]]),
        ([CALLED, RESULT, YES], [CALLED, RESULT, NO], [ASKED, CALLED, RESULT]),
        ([{**ASKED, "content": "Hi\n"}, YES], [NO], [{**ASKED, "content": "Hi\n"}]),
    ],
)
def test_dialogues_around_a_prompt(chosen: Any, rejected: Any, prompt: Any) -> None:
    assert answers("Hi", chosen, rejected) == TextPair(prompt, "Yes", "No")


def test_a_system_message_of_the_prompt_alone_stays() -> None:
    pair = answers([BRIEF, ASKED], [ASKED, YES], [ASKED, NO])
    assert pair == TextPair([BRIEF, ASKED], "Yes", "No")
    with pytest.raises(Unusable, match="another prompt"):
        answers([BRIEF, ASKED], [{**BRIEF, "content": "Be long."}, ASKED, YES], [NO])


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ([BRIEF, ASKED, YES], [ASKED, NO], "differ before"),
        ([CALLED, RESULT, YES], [CALLED, {**RESULT, "content": "13"}, NO], "differ before"),
        ([*BEFORE, YES], [*BEFORE, NO], "another prompt"),
        ([ASKED], [NO], "no answer"),
        ([CALLED], [NO], "calls a tool"),
    ],
)
def test_dialogues_that_cannot_be_used(chosen: Any, rejected: Any, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        answers("Hi", chosen, rejected)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", " Yes", " No"),
        ("Once upon a time", " there was", "\nnever"),
        ("Say 2. ", "2", "3"),
    ],
)
def test_answers_lose_the_prompt(prompt: str, chosen: str, rejected: str) -> None:
    assert without_prompt(prompt, prompt + chosen, prompt + rejected) == (chosen, rejected)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Hi", "Hi there", "Hi! How are you?"),  # a greeting returned
        ("Hi", "Highway", "Hills"),
        ("Why so?", "Why so? Because.", "No."),  # one quotes it
        (" ", "  a", "  b"),
        ([ASKED], "Hi Yes", "Hi No"),
    ],
)
def test_answers_that_only_look_like_it_keep_their_text(
    prompt: Any, chosen: str, rejected: str
) -> None:
    assert without_prompt(prompt, chosen, rejected) == (chosen, rejected)


def test_an_input_follows_its_instruction() -> None:
    assert joined("Translate.", "Bonjour", "p") == "Translate.\n\nBonjour"
    assert joined("Translate.", None, "p") == joined("Translate.", " ", "p") == "Translate."
    with pytest.raises(BadInput, match=r"p holds messages.*input"):
        joined([ASKED], "Bonjour", "p")


def test_a_system_column_comes_first() -> None:
    pair = TextPair([ASKED], "Yes", "No")
    full = TextPair([BRIEF, ASKED], "Yes", "No")
    assert with_system(pair, "Be brief.") == full == with_system(full, "Be brief. ")
    assert with_system(pair, None) == with_system(pair, "") == pair
    with pytest.raises(Unusable, match="system"):
        with_system(full, "Be long.")


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_messages_written_as_a_text(write: Any) -> None:
    assert said({"a": write([ASKED, YES])}, "a") == [ASKED, YES]
    for text in ("[1, 2]", '[{"city": "Rome"}]', "[{'role': 1}]", " plain"):
        assert said({"a": text}, "a") == text
    # as NumPy shows them
    with pytest.raises(BadInput, match="neither JSON nor Python"):
        said({"a": "[{'role': 'user', 'content': 'Hi'}\n {'role': 'user', 'content': 'Ho'}]x"}, "a")


def test_a_null_is_a_reason_to_drop() -> None:
    for null in (None, math.nan):  # pandas writes NaN
        with pytest.raises(Unusable, match="a null in a"):
            said({"a": null}, "a")


def test_gaps_of_scores() -> None:
    for chosen, rejected, wanted in ((8, 7.5, 0.5), ("3", "4.5", -1.5), (Decimal(2), 1, 1.0)):
        assert gap({"c": chosen, "r": rejected}, "c", "r") == wanted
    for chosen, reason in (
        (7, "equal"),
        (None, "missing"),
        ("", "missing"),
        (math.nan, "missing"),
        (1e400, "finite"),
    ):
        with pytest.raises(Unusable, match=reason):
            gap({"c": chosen, "r": 7}, "c", "r")
    for wrong in ("good", True, [1]):
        with pytest.raises(BadInput, match="c="):
            gap({"c": wrong, "r": 7}, "c", "r")
