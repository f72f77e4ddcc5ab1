"""The page's source: what it says at the top as HTML, everything else as compressed parts."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from sympo.analysis.html.packing import packed_bytes

LARGEST = 10_000_000  # bytes of a page
_COUNTS = {
    "complete": "Cells that were trained and evaluated to the end.",
    "failed": "Cells that ended with an error; their logs are below.",
    "unfinished": "Cells that began and did not end: interrupted, or still running.",
    "missing": "Cells of the grid of losses, noise rates and seeds without a number, failed and "
    "unfinished ones included.",
}
_ROOM = 200_000  # for the page's own source and its words
# a page goes by mail
_MOST_OF_FILES = 3_000_000
_LARGEST_FILE = 500_000


@dataclass(frozen=True)
class Shown:
    """A figure. name: of its files. title, of, caption: what it shows, its experiment, how to read
    it. experiment: its number, None if it compares several. part: of its data or its image."""

    name: str
    title: str
    of: str
    caption: str
    experiment: int | None
    part: str


@dataclass(frozen=True)
class Page:
    """A report.

    outcome, notes: sentences. facts: names and values. counts: of cells, by state. failures: the
    folders of runs that are not complete, each with the end of its log. figures: in order.
    parts: packed content by name, the most important first. folder: of the files that can be
    downloaded; files: their names and what they hold.
    """

    title: str
    outcome: Sequence[str]
    facts: Sequence[tuple[str, str]]
    counts: Mapping[str, int]
    notes: Sequence[str] = ()
    failures: Sequence[tuple[str, str]] = ()
    figures: Sequence[Shown] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path()
    files: Mapping[str, str] = field(default_factory=dict)


def render(page: Page) -> str:
    """The source of the page, below `LARGEST` bytes: parts and files that would exceed it are left
    out, and the page says so.

    Only the page's own script and style may run: the content security policy names their hashes,
    and forbids to load or send anything.
    """
    script, style = _part("page.js"), _part("page.css")
    kept, left_out = _within(page)
    notes = [*page.notes]
    if left_out:
        notes.append(
            f"Left out to keep this page below {LARGEST // 10**6} MB: {_listed(left_out)}; the "
            "files beside it have them."
        )
    allowed = (
        f"default-src 'none'; img-src blob: data:; script-src '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    contents = {
        "allowed": allowed,
        "style": style,
        "script": script,
        "title": html.escape(page.title),
        "body": _top(page, notes),
        "figures": "\n".join(map(_figure, page.figures)),
        "files": "\n".join(_link(name, what) for name, what in page.files.items()),
        "parts": "\n".join(_script(name, text) for name, text in kept.items()),
    }
    # in one pass, so that nothing in a text is replaced
    return re.sub(r"{{(\w+)}}", lambda place: contents[place[1]], _part("page.html"))


def _within(page: Page) -> tuple[dict[str, str], list[str]]:
    """The parts and files that fit, and the names of the others."""
    kept: dict[str, str] = {}
    left_out: list[str] = []
    words = sum(2 * len(one.title + one.of + one.caption) + 600 for one in page.figures)
    room = LARGEST - _ROOM - words

    def keep(name: str, text: str, label: str) -> None:
        nonlocal room
        if len(text) + len(name) + 60 > room:
            left_out.append(label)
        else:
            kept[name], room = text, room - len(text) - len(name) - 60

    for name, text in page.parts.items():
        keep(name, text, name)
    room = min(room, _MOST_OF_FILES)
    names = [one.name for one in page.figures]
    for name in [
        *page.files,
        *(f"{name}.pdf" for name in names),
        *(f"{name}.png" for name in names),
    ]:
        file = page.folder / name
        if file.is_file() and file.stat().st_size < _LARGEST_FILE:
            keep(f"file-{name}", packed_bytes(file.read_bytes()), "")
    return kept, [label for label in left_out if label]


def _top(page: Page, notes: Sequence[str]) -> str:
    outcome = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in page.outcome)
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{_value(name, value)}</dd></div>"
        for name, value in page.facts
    )
    counts = "".join(
        f'<li class="{"" if name == "complete" else "bad" if count else "none"}" tabindex="0" '
        f'data-tip="{_COUNTS[name]}"><b>{count:,}</b> {name}</li>'
        for name, count in page.counts.items()
    )
    failures = "".join(
        f"<details><summary>{html.escape(folder)}</summary>"
        f"<pre>{html.escape(log or 'no error log: not started, interrupted or still running')}"
        "</pre></details>"
        for folder, log in page.failures
    )
    return (
        f'<h1>{html.escape(page.title)}</h1>\n<div id="outcome">{outcome}</div>\n'
        f'<ul id="counts" aria-label="Cells">{counts}</ul>\n'
        + (f'<details id="failures"><summary>Cells that are not complete</summary>{failures}'
           "</details>\n" if failures else "")
        + "".join(f'<p class="note">{html.escape(note)}</p>\n' for note in notes)
        + f'<dl id="facts">{facts}</dl>'
    )  # fmt: skip


def _value(name: str, value: str) -> str:
    written = html.escape(value)
    if name == "Command":
        return f"<code>{written}</code>"
    # versions are long and seldom read
    return f"<details><summary>show</summary>{written}</details>" if len(value) > 90 else written


def _figure(one: Shown) -> str:
    at = "" if one.experiment is None else f' data-experiment="{one.experiment}"'
    title, of = html.escape(one.title), html.escape(one.of)
    files = " ".join(
        f'<a href="{html.escape(f"{one.name}.{kind}")}" download>{kind.upper()}</a>'
        for kind in ("png", "pdf")
    )
    alt = html.escape(f"{one.title}: {one.of}. {one.caption}")
    return (
        f'<figure id="figure-{html.escape(one.name)}" data-part="{one.part}"{at}>'
        f'<figcaption><h3>{title}</h3><p class="of">{of}</p></figcaption>'
        f'<div class="drawing" role="group" aria-label="{alt}"></div>'
        f'<p class="caption">{html.escape(one.caption)}</p><p class="files">{files}</p></figure>'
    )


def _link(name: str, what: str) -> str:
    written = html.escape(name)
    return f'<li><a href="{written}" download>{written}</a> {html.escape(what)}</li>'


def _script(name: str, text: str) -> str:
    # base64 alone, in which no parser sees the end of a script
    return f'<script type="text/plain" id="part-{html.escape(name)}">{text}</script>'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
