"""Checkpoints of cells that are under way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save(state: Mapping[str, Any], file: Path) -> None:
    """Write a checkpoint so that it is there whole or not at all."""
    temporary = file.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(file)


def load(file: Path) -> dict[str, Any] | None:
    """A checkpoint, on the CPU; None where there is none."""
    return torch.load(file, map_location="cpu", weights_only=True) if file.is_file() else None
