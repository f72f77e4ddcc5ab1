"""From the columns of a preference row to a prompt, two responses, and their scores."""

import ast
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sympo.data.message_parsing import Unusable, answer, is_message, listed, messages, short, value
from sympo.data.text_pair import Message, TextPair
from sympo.types import BadInput

# how a list of messages begins in a file that holds only strings, such as CSV
WRITTEN = re.compile(r"\s*\[\s*\{\s*(['\"])(role|content|from|value)\1\s*:")

Said = str | list[Message]


def said(row: Mapping[str, Any], key: str) -> Said:
    """A column's text or messages; raises Unusable if it is null."""
    found = value(row, key, str, list, Mapping, type(None))
    if found is None:
        raise Unusable(f"a null in {key}")
    if not isinstance(found, str):
        return messages(row, key)
    return _written(found, key) if WRITTEN.match(found) else found


def dialogue(row: Mapping[str, Any], key: str) -> list[Message]:
    """A column's messages; raises BadInput if it is a string."""
    found = said(row, key)
    if isinstance(found, str):
        raise BadInput(
            f"{key}={short(found)} must be of type list if no column holds the prompt (prompt=null)"
        )
    return found


def joined(prompt: Said, more: str | None, key: str) -> Said:
    """An instruction and its input, with a blank line between them."""
    if not isinstance(prompt, str):
        raise BadInput(f"{key} holds messages, to which input cannot be added")
    return "\n\n".join(text for text in (prompt, more) if text and not text.isspace())


def without_prompt(prompt: Said, chosen: Said, rejected: Said) -> tuple[Said, Said]:
    """Two responses without the prompt if both begin with it; white space after it remains.

    If only one does, it quotes the prompt; if it continues within a word, that is a coincidence.
    """
    if not (isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str)):
        return chosen, rejected
    begins = prompt.strip() and all(
        text.startswith(prompt) and (not prompt[-1].isalnum() or text[len(prompt) :][:1].isspace())
        for text in (chosen, rejected)
    )
    if not begins:
        return chosen, rejected
    return chosen.removeprefix(prompt), rejected.removeprefix(prompt)


def answers(prompt: Said, chosen: Said, rejected: Said) -> TextPair:
    """Two responses to a prompt, each alone or at the end of a dialogue.

    If the dialogues contain the prompt among other turns, all of them belong to the prompt, and so
    does a system message that only the prompt has; so do later turns of the assistant and its
    tools, if equal in both. Raises Unusable if the dialogues differ before their responses or
    contain another prompt.
    """
    asked = _turns(prompt, "user")
    one, other = _turns(chosen, "assistant"), _turns(rejected, "assistant")
    pair = TextPair(asked, answer(one), answer(other))
    before = one[:-1] or other[:-1]
    if not before:
        return pair
    if one[:-1] and other[:-1] and one[:-1] != other[:-1]:
        raise Unusable("dialogues that differ before their answers")
    if _holds(before, asked):
        return replace(pair, prompt=before)
    systems = [message["role"] == "system" for message in (asked[0], before[0])]
    if systems == [True, False] and _holds(before, asked[1:]):
        return replace(pair, prompt=[asked[0], *before])
    if any(message["role"] in ("system", "user") for message in before):
        raise Unusable("a dialogue about another prompt")
    return replace(pair, prompt=[*asked, *before])


def with_system(pair: TextPair, text: str | None) -> TextPair:
    """The pair with a system message; raises Unusable if the prompt begins with another one."""
    if text is None or not text.strip():
        return pair
    own = [message for message in pair.prompt[:1] if message["role"] == "system"]
    if own and own[0]["content"].strip() != text.strip():
        raise Unusable("two different system messages")
    return (
        pair if own else replace(pair, prompt=[{"role": "system", "content": text}, *pair.prompt])
    )


def gap(row: Mapping[str, Any], chosen: str, rejected: str) -> float:
    """The chosen response's score minus the rejected one's; raises Unusable if they are equal or
    one is missing."""
    difference = _score(row, chosen) - _score(row, rejected)
    if difference == 0:
        raise Unusable("two equal scores")
    return difference


def probability(row: Mapping[str, Any], key: str) -> float:
    """The probability that the chosen response is preferred, in [0, 1] but for 1/2.

    Raises Unusable if it is one half or missing, and BadInput if it is not a probability.
    """
    found = value(row, key, int, float, Decimal, str, type(None))
    if found is None or found == "":
        raise Unusable("a missing probability")
    try:
        number = float(found)
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= 1:
        raise BadInput(f"{key}={short(found)} must be a probability, a number from 0 to 1")
    if number == 0.5:
        raise Unusable("a probability of one half")
    return number


def _score(row: Mapping[str, Any], key: str) -> float:
    found = value(row, key, int, float, Decimal, str, type(None))
    if found is None or found == "":
        raise Unusable("a missing score")
    try:
        score = float(found)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{key}={short(found)} must be a number") from error
    if not math.isfinite(score):
        raise Unusable("a score that is not finite")
    return score


def _turns(found: Said, role: str) -> list[Message]:
    return [{"role": role, "content": found}] if isinstance(found, str) else found


def _holds(dialogue: list[Message], asked: list[Message]) -> bool:
    wanted, turns = list(map(_bare, asked)), list(map(_bare, dialogue))
    size = len(wanted)
    return any(turns[i : i + size] == wanted for i in range(len(turns) - size + 1))


def _bare(message: Message) -> Message:
    return {**message, "content": message["content"].strip()}


def _written(text: str, key: str) -> Said:
    """Messages stored as a string, in JSON or as Python prints them."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return listed(found, key) if all(map(is_message, found)) else text
    raise BadInput(
        f"{key}={short(text)} begins like a list of messages, and is neither JSON nor Python"
    )
