"""Finds API keys and passwords in texts, so that they are refused or replaced, never written."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

# names of environment variables that hold secrets; a shorter value is a placeholder, such as
# EMPTY, and may be a word of a reply
_NAMES = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_SHORTEST = 8
_PASSWORD = re.compile(r"(?<=://)[^/\s@:]*:[^/\s@]+(?=@)")
# of OpenAI and of the hub
_A_KEY = re.compile(r"\b(sk-([a-z]+-)?\w{20,}|hf_[A-Za-z0-9]{30,})")
# as servers repeat it, whole or with its middle masked
_LIKE_A_KEY = re.compile(r"\b(sk-[\w*.-]{8,}|hf_[\w*.]{8,})")


def secret_in(settings: Any) -> str:
    """Where nested settings hold a secret and of what kind, without repeating it; empty if they
    hold none."""
    known = _of_environment()
    for key, text in _texts("", settings):
        if kind := _kind(text, known):
            return f"{key} holds {kind}"
    return ""


def redacted(text: str) -> str:
    """A text with `[key]` for every secret."""
    for value in _of_environment().values():
        text = text.replace(value, "[key]")
    return _LIKE_A_KEY.sub("[key]", _PASSWORD.sub("[key]", text))


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(f"{place}.{key}" if place else str(key), item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(f"{place}[{number}]", item)
    elif isinstance(value, str):
        yield place, value


def _kind(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        if value in text:
            return f"the value of {name}"
    if _PASSWORD.search(text):
        return "an address with a password"
    return "what looks like an API key" if _A_KEY.search(text) else ""


def _of_environment() -> dict[str, str]:
    """The secrets in environment variables, by name."""
    found = {name: value.strip() for name, value in os.environ.items() if _NAMES.search(name)}
    return {name: value for name, value in found.items() if len(value) >= _SHORTEST}
