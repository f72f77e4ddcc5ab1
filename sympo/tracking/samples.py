"""The samples of a policy as a table: prompt, both responses, and who won."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sympo.evaluation.judged_content import read
from sympo.outcomes import unpack

# as many as a person reads
MOST_ROWS = 64
# the outcome of each sample by the true reward, against the reference
BY_TRUE_REWARD = "policy/win_rate"
_WHICH = "last"

Table = tuple[list[str], list[list[Any]]]


def samples_table(folder: Path, summary: Mapping[str, Any]) -> Table | None:
    """Columns and rows: the first samples of the last epoch, the reference's responses, and a
    column of verdicts for the true reward and for each judge; None if the run left no samples.

    A verdict is `policy`, the opponent's name, `tie` or `invalid`.
    """
    file = folder / "samples" / f"{_WHICH}.jsonl"
    if not file.is_file():
        return None
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    verdicts = _by_true_reward(lines, summary) | _by_judges(folder)
    shown = [name for name in ("policy", "reference", "chosen") if name in lines[0]]
    rows = [
        [
            _text(line["prompt"]),
            *(line[name] for name in shown),
            *(column.get(str(line["id"]), "") for column in verdicts.values()),
        ]
        for line in lines[:MOST_ROWS]
    ]
    return ["prompt", *shown, *verdicts], rows


def _by_true_reward(
    lines: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, dict[str, str]]:
    packed = summary["outcomes"][_WHICH].get(BY_TRUE_REWARD)
    if packed is None:
        return {}
    # outcomes are in the order of ids
    order = np.argsort(np.array([line["id"] for line in lines], np.uint64), kind="stable")
    scores = unpack([packed], len(lines))[0]
    return {
        "verdict of the true reward": {
            str(lines[place]["id"]): _verdict(float(score), "reference")
            for place, score in zip(order, scores, strict=True)
        }
    }


def _by_judges(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for file in sorted((folder / "judges").glob("*.json")):
        judged = read(file.read_bytes())
        against = str(judged["config"]["against"])
        if _WHICH in judged["samples"]:
            name = f"verdict of {judged['judge']} against {against}"
            found[name if name not in found else f"{name} ({file.stem})"] = {
                str(item["id"]): _verdict(item["score"], against)
                for item in judged["samples"][_WHICH]["items"]
            }
    return found


def _verdict(score: float | None, against: str) -> str:
    if score is None:
        return "invalid"
    return {0.0: against, 0.5: "tie", 1.0: "policy"}.get(score, f"{score:g}")


def _text(prompt: Any) -> str:
    """A prompt as a text: a dialogue with a line per turn."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)
