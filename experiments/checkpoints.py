"""Checkpoints of cells that are under way."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sympo.evaluation.selection import reported
from sympo.types import Evaluation

# of what jobs keep in them; raise it when that changes, since cells go on from no other
FORMAT = 3


def kept(
    evaluations: Sequence[tuple[float, Evaluation]], selected_by: str
) -> list[tuple[float, dict[str, float | None], dict[str, str]]]:
    """Evaluations as a checkpoint keeps them: epoch, metrics, and the outcomes of those two that
    would be reported if it were the end."""
    if not evaluations:
        return []
    places = reported([found.metrics for _, found in evaluations], selected_by)
    return [
        (epoch, found.metrics, found.outcomes if place in places else {})
        for place, (epoch, found) in enumerate(evaluations)
    ]


def save(state: Mapping[str, Any], file: Path) -> None:
    """Write a checkpoint so that it is there whole or not at all, also after a power cut."""
    temporary = file.with_suffix(".new")
    with temporary.open("wb") as opened:
        torch.save({**state, "format": FORMAT}, opened)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def load(file: Path, note: Callable[[str], None]) -> dict[str, Any] | None:
    """A checkpoint, on the CPU; None where there is none, or none that this program can go on from,
    which is noted."""
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if state["format"] == FORMAT:
            return state
        reason = "of another version of this program"
    except Exception as error:  # whatever torch makes of a broken file
        reason = f"not readable ({type(error).__name__})"
    note(f"starts anew, because its checkpoint is {reason}: {file}")
    return None
