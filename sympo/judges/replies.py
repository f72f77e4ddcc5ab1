"""Replies of servers that speak OpenAI's protocol, as verdicts or as reasons for none."""

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import openai

from sympo.judges.templates import choice
from sympo.protocols.judging import MOST_TOKENS
from sympo.secrets import redacted
from sympo.types import Verdict, printable

KEY = "OPENAI_API_KEY"
# of a server's error message
LONGEST = 500
# the finish reason at the token limit, by OpenAI and by gateways to others
CUT = ("length", "max_tokens")


class Refusal(Verdict):
    """An invalid verdict: the server will never answer this one request."""


@dataclass(frozen=True)
class NoAnswer:
    """Why a request got no answer; final if no other request would get one."""

    reason: str
    final: bool = False


def api_key() -> str:
    """The key in the environment, empty if there is none."""
    return os.environ.get(KEY, "").strip()


def verdict(content: bytes) -> Verdict | NoAnswer:
    """The verdict of a completion; only the text of its first choice is read.

    content: the body of a reply. Token counts that are missing or impossible are 0. A completion
    without a choice, or nested too deeply to be read, is a `Refusal`.
    """
    try:
        reply = json.loads(content, parse_int=_whole)
    except RecursionError:
        return Refusal(None, "the reply is nested too deeply to be read")
    except ValueError as error:
        kind = type(error).__name__
        return NoAnswer(_shortened(f"the reply is not a completion: {_text(content)} ({kind})"))
    if not isinstance(reply, dict) or reply.get("error"):
        return NoAnswer(_shortened(f"the reply is not a completion: {_text(content)}"))
    usage = reply.get("usage")
    tokens = [
        _tokens(usage.get(f"{kind}_tokens")) if isinstance(usage, dict) else 0
        for kind in ("prompt", "completion")
    ]
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return Refusal(None, _shortened(f"the reply holds no choice: {_text(content)}"), *tokens)
    return _read(first, tokens)


def _read(first: dict[str, Any], tokens: list[int]) -> Verdict:
    """The verdict in a choice of a completion."""
    message, finish = first.get("message"), first.get("finish_reason")
    message = message if isinstance(message, dict) else {}
    words = _words(message.get("content")) or _words(message.get("refusal"))
    if not words:
        return Verdict(None, _shortened(f"no text, finish_reason={_shown(finish)}"), *tokens)
    cut = isinstance(finish, str) and finish.lower() in CUT
    thought = any(message.get(key) for key in ("reasoning_content", "reasoning")) or any(
        isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")
        for part in _parts(message.get("content"))
    )
    # half a character, which JSON can hold, cannot be stored
    words = words.encode(errors="replace").decode()
    found = choice(words, cut, thought)
    note = "(cut at its token limit) " if cut and found is None else ""
    return Verdict(found, note + redacted(words), *tokens)


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _words(content: Any) -> str:
    """The text of a message: a string, or its text parts joined."""
    if isinstance(content, str):
        return content
    texts = [
        part.get("text")
        for part in _parts(content)
        if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text")
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _whole(digits: str) -> float:
    # Python refuses to read an integer of thousands of digits, and so the whole reply
    return int(digits) if len(digits) < 20 else math.inf


def _tokens(count: Any) -> int:
    """A server's count, 0 if it is impossible."""
    numeric = isinstance(count, int | float) and not isinstance(count, bool)
    return int(count) if numeric and 0 < count <= MOST_TOKENS and count == int(count) else 0


def refusal(
    error: openai.APIStatusError, model: str, server: str, works: bool
) -> Refusal | NoAnswer:
    """The meaning of an HTTP error: a refusal if it concerns this one request, such as one that is
    too long or filtered.

    works: whether the server has answered others, so that key and model are right.
    """
    status = error.status_code
    reason = _shortened(f"error {status}: {_shown(error.body)}")
    settings = {
        401: f"{server} does not accept the key in {KEY}"
        if api_key()
        else f"{server} requires a key, and {KEY} is not set",
        403: f"{server} does not let the key in {KEY} use model={model}",
        404: f"model={model} or the path of base_url={server} is not known there",
    }
    if status in settings and not (works and status == 403):
        return NoAnswer(f"{settings[status]} ({reason})", final=True)
    if error.code == "insufficient_quota":
        return NoAnswer(f"the account of the key in {KEY} has nothing left ({reason})", final=True)
    if status in (408, 409, 429) or status >= 500:
        return NoAnswer(reason)
    if error.param in ("model", "max_tokens", "temperature", "seed"):
        return NoAnswer(f"{server} refuses {error.param} ({reason})", final=True)
    return Refusal(None, reason)


def failure(error: Exception) -> NoAnswer:
    """The meaning of a lost connection or a timeout."""
    # the cause itself may quote the request, key included
    return NoAnswer(_shortened(f"{error} ({type(error.__cause__ or error).__name__})"))


def _text(content: bytes) -> str:
    return content[: 4 * LONGEST].decode(errors="replace")


def _shown(value: Any) -> str:
    try:
        return str(value)
    except RecursionError:
        return "content nested too deeply to be read"


def _shortened(text: str) -> str:
    text = printable(" ".join(redacted(text).encode(errors="replace").decode().split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
