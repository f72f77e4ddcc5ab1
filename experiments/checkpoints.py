"""Checkpoints of cells that are under way."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

# of what jobs keep in them; raise it when that changes, since cells go on from no other
FORMAT = 2


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
