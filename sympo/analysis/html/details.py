"""What a run folder holds of its cell, for readers of the page: config, evaluations, samples."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from sympo.analysis.frames import flatten, show, variants
from sympo.analysis.html.keys import Json, Keys
from sympo.analysis.html.packing import numbers, packed
from sympo.evaluation import judged_content
from sympo.metrics import figures, metric_of

SAMPLES = 8  # of a cell
LETTERS = 6000  # of a text
LOG_LINES = 12
_VERDICTS = {1.0: "win", 0.5: "tie", 0.0: "loss", None: "invalid"}
# metrics that are drawn along training
CURVES = tuple(dict.fromkeys(one.metric.path for one in figures() if one.axis == "epochs"))


def groups(cells: pd.DataFrame, keys: Keys) -> dict[str, list[int]]:
    """The cells of each experiment, loss and noise rate, by the name of the group's part."""
    found: dict[str, list[int]] = {}
    losses, rates = keys.variant(variants(cells)), keys.noise(cells["noise"])
    for cell, key in enumerate(zip(keys.experiment(cells), losses, rates, strict=True)):
        found.setdefault("-".join(map(str, key)), []).append(cell)
    return found


def packed_details(
    folders: Sequence[str], of_group: Mapping[str, Sequence[int]], most: int
) -> dict[str, str]:
    """The details of cells by group, `most` characters in all: of as many seeds of every group as
    fit, or of one seed of the first groups."""
    if not folders or not of_group:
        return {}
    first = {name: details(Path(folders[cells[0]])) for name, cells in _first(of_group)}
    sizes = [len(packed({"0": one})) for one in first.values()]
    mean = sum(sizes) / len(sizes)
    each = max(1, int(most / (mean * len(of_group))))
    found: dict[str, str] = {}
    left = most
    for name, cells in of_group.items():
        part = packed({str(cell): details(Path(folders[cell])) for cell in cells[:each]})
        if len(part) > left:
            break
        found[name], left = part, left - len(part)
    return found


def _first(of_group: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, Sequence[int]]]:
    """A few groups, spread over all."""
    names = list(of_group)
    step = max(1, len(names) // 10)
    yield from ((name, of_group[name]) for name in names[::step])


def details(folder: Path) -> Json:
    """One cell: its folder, config, curves, last evaluations, and responses with verdicts.

    A file that cannot be read is left out; damage is reported when cells are collected.
    """
    summary = _json(folder / "summary.json")
    lines = _text(folder / "metrics.jsonl").splitlines()
    history = [line for line in map(_parsed, lines) if line]
    config = summary.get("config")
    return {
        "folder": "/".join(folder.absolute().parts[-5:]),
        "made": _made(summary),
        "config": {
            name: "null" if value is None else show(value)
            for name, value in flatten(config if isinstance(config, dict) else {}).items()
        },
        "curves": _curves(history),
        "log": lines[-LOG_LINES:],
        "samples": _samples(folder),
    }


def failure(folder: Path) -> tuple[str, str]:
    """A run without a summary: its folder, and the end of its error log, empty if it has none."""
    log = _text(folder / "error.log").rstrip().splitlines()
    return "/".join(folder.absolute().parts[-5:]), "\n".join(log[-LOG_LINES:])


def data_of(folder: Path) -> str:
    """The numbers of pairs of a run's splits, `256 train, 128 test pairs`, as its account of rows
    or its config has them; empty if neither does."""
    splits = _json(folder / "data.json").get("splits", {})
    counts = {name: split["pairs"] for name, split in splits.items()}
    if not counts:
        dataset = _json(folder / "summary.json").get("config", {}).get("dataset", {})
        named = {name: f"{name}_pairs" for name in ("train", "validation", "test")}
        counts = {name: dataset[key] for name, key in named.items() if dataset.get(key)}
    written = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{written} pairs" if written else ""


def _made(summary: Mapping[str, Any]) -> str:
    started = summary.get("started")
    parts = [
        f"{datetime.fromtimestamp(started, UTC):%Y-%m-%d %H:%M} UTC" if started else "",
        f"{summary['wall_seconds']:g} s" if "wall_seconds" in summary else "",
        str(summary.get("device", "")),
        f"commit {str(summary['git_commit'])[:10]}" if summary.get("git_commit") else "",
    ]
    return ", ".join(filter(None, parts))


def _curves(history: Sequence[Mapping[str, Any]]) -> list[Json]:
    found: list[Json] = []
    for path in CURVES:
        points = [(line["epoch"], line[path]) for line in history if line.get(path) is not None]
        if len(points) > 1:
            unit = metric_of(path)
            x, y = zip(*points, strict=True)
            found.append({"label": unit.label, "x": numbers(x), "y": numbers(y, unit.factor)})
    return found


def _samples(folder: Path) -> list[Json]:
    lines = _text(folder / "samples" / "last.jsonl").split("\n")[:SAMPLES]
    verdicts = _verdicts(folder)
    return [
        {
            "prompt": _dialogue(line.get("prompt")),
            "answers": {
                name: _cut(line[name])
                for name in ("policy", "reference", "chosen", "rejected")
                if isinstance(line.get(name), str)
            },
            "verdicts": verdicts.get(str(line.get("id")), {}),
        }
        for line in map(_parsed, lines)
        if line
    ]


def _verdicts(folder: Path) -> dict[str, dict[str, str]]:
    """Of each judge and opponent, by the id of a sample."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((folder / "judges").glob("*.json")):
        try:
            judged = judged_content.read(path.read_bytes())
            name = f"{judged['judge']}, over the {judged['config'].get('against')}"
            for item in judged["samples"]["last"]["items"]:
                found.setdefault(str(item["id"]), {})[name] = _VERDICTS[item["score"]]
        except (OSError, ValueError, KeyError):
            continue
    return found


def _dialogue(prompt: object) -> list[list[str]]:
    turns = prompt if isinstance(prompt, list) else [{"role": "", "content": prompt}]
    return [
        [str(turn.get("role", "")), _cut(str(turn.get("content", "")))]
        for turn in turns
        if isinstance(turn, dict)
    ]


def _cut(text: str) -> str:
    more = len(text) - LETTERS
    return text if more <= 0 else f"{text[:LETTERS]} ... ({more:,} more characters)"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    return _parsed(_text(path)) or {}


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
