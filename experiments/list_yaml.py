"""Reads the options in `conf/` as people see them: a sentence, and settings with their comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w/]+):(?: +(?P<rest>.*))?$")
# a value and its comment; a # inside quotes or a reference is no comment
_COMMENT = re.compile(r"(?:^|\s)#\s+(.*)$")
# keys that say how files are composed
_PLUMBING = ("_target_", "defaults", "hydra")


@dataclass(frozen=True)
class Setting:
    """A setting of an option: its dotted name, its value as written, and its comment."""

    name: str
    value: str
    note: str


@dataclass
class OptionFile:
    """What a YAML file says: the comment on top, its class, its settings."""

    sentence: str = ""
    target: str = ""
    settings: list[Setting] = field(default_factory=list)


def read_option(file: Path) -> OptionFile:
    """Read an option; comments above a setting belong to it."""
    found, path, above = OptionFile(), list[tuple[int, str]](), list[str]()
    lines = file.read_text(encoding="utf-8").splitlines()
    found.sentence = " ".join(_top(lines))
    below = lines[len(_top(lines)) + lines[:1].count("# @package _global_") :]
    for line in below:
        if line.lstrip().startswith("#"):
            above.append(line.strip("# "))
            continue
        match = _LINE.match(line)
        if match:
            indent, key = len(match["indent"]), match["key"]
            path = [place for place in path if place[0] < indent]
            value, note = _split(match["rest"] or "")
            names = [name for _, name in path] + [key]
            if key == "_target_" and not found.target:
                found.target = value
            if value and not {*names} & {*_PLUMBING}:
                comment = " ".join([*above, note]).strip()
                found.settings.append(Setting(".".join(names), value, comment))
            path.append((indent, key))
        above = []
    return found


def _top(lines: list[str]) -> list[str]:
    """The comment that begins a file, unless it is that of its first setting."""

    def comments() -> Iterator[str]:
        for line in lines[lines[:1].count("# @package _global_") :]:
            if not line.startswith("#"):
                return
            yield line.strip("# ")

    return list(comments())


def _split(text: str) -> tuple[str, str]:
    comment = _COMMENT.search(text)
    value = text[: comment.start()] if comment else text
    return value.strip(), comment[1] if comment else ""
