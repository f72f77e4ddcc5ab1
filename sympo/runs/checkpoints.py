"""Saves and loads the checkpoints of unfinished cells."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sympo.evaluation.selection import reported
from sympo.runs.folder import RunFolder
from sympo.types import Evaluation

# of the state that jobs save; raise it when that changes, since cells resume only from their own
FORMAT = 5


def kept(
    evaluations: Sequence[tuple[float, Evaluation]], selected_by: str
) -> list[tuple[float, dict[str, float | None], dict[str, str]]]:
    """Evaluations in the form that a checkpoint keeps: epoch, metrics, and outcomes only for the
    two evaluations that would be reported if training ended here."""
    if not evaluations:
        return []
    places = reported([found.metrics for _, found in evaluations], selected_by)
    return [
        (epoch, found.metrics, found.outcomes if place in places else {})
        for place, (epoch, found) in enumerate(evaluations)
    ]


def save(state: Mapping[str, Any], folder: RunFolder, trainer: type) -> None:
    """Write a cell's checkpoint atomically and durably, even through a power cut.

    trainer: whose state it is; settings that change no result may select another one.
    """
    file, temporary = folder.checkpoint, folder.checkpoint.with_suffix(".new")
    try:
        with temporary.open("wb") as opened:
            header = {"format": FORMAT, "cell": folder.hash, "trainer": trainer.__name__}
            torch.save({**header, "digest": _digest(state), "state": dict(state)}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except BaseException:  # such as a full disk
        temporary.unlink(missing_ok=True)
        raise


def load(folder: RunFolder, trainer: type, note: Callable[[str], None]) -> dict[str, Any] | None:
    """Load a cell's checkpoint on the CPU; None if there is none, or if the cell cannot resume from
    it, with the reason as a note. trainer: that it must be from."""
    file = folder.checkpoint
    if not file.is_file():
        return None
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        if kept["format"] != FORMAT:
            reason = "from another version of this program"
        elif kept["cell"] != folder.hash:
            reason = "from another cell"
        elif kept["trainer"] != trainer.__name__:
            reason = f"from another trainer ({kept['trainer']}, not {trainer.__name__})"
        elif kept["digest"] != _digest(kept["state"]):
            reason = "damaged: its content differs from what was saved"
        else:
            state: dict[str, Any] = kept["state"]
            return state
    except Exception as error:  # whatever torch raises on a broken file
        reason = f"not readable ({type(error).__name__})"
    note(f"starts over, because its checkpoint is {reason}: {file}")
    return None


def _digest(state: Any) -> str:
    """A hash of nested dicts and lists of tensors and plain values."""
    found = hashlib.blake2b(digest_size=16)
    _add(state, found.update)
    return found.hexdigest()


def _add(value: Any, update: Callable[[Any], None]) -> None:
    if isinstance(value, torch.Tensor):
        update(f"{value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().flatten()
        update(flat.view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            update(repr(key).encode())
            _add(item, update)
    elif isinstance(value, list | tuple):
        update(f"{len(value)}".encode())
        for item in value:
            _add(item, update)
    else:
        update(repr(value).encode())
