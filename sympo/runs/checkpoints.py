"""Saves and loads the checkpoints of unfinished cells."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sympo.disk import set_aside
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
    it, with the reason as a note. A damaged one is set aside in the run folder. trainer: that it
    must be from."""
    file = folder.checkpoint
    if not file.is_file():
        return None
    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        reason = _foreign(kept, folder, trainer)
        intact = bool(reason) or kept["digest"] == _digest(kept["state"])
    except Exception as error:  # whatever torch raises on a broken file
        reason, intact = f"not readable ({type(error).__name__})", False
    if intact and not reason:
        state: dict[str, Any] = kept["state"]
        return state
    reason = reason or "damaged: its content differs from what was saved"
    aside = "" if intact else f"; set aside as {set_aside(file, folder.path)}"
    note(f"starts over, because its checkpoint is {reason}: {file}{aside}")
    return None


def _foreign(kept: Mapping[str, Any], folder: RunFolder, trainer: type) -> str:
    """Where a checkpoint is from that is not this cell's own; empty if it is."""
    if kept["format"] != FORMAT:
        return "from another version of this program"
    if kept["cell"] != folder.hash:
        return "from another cell"
    if kept["trainer"] != trainer.__name__:
        return f"from another trainer ({kept['trainer']}, not {trainer.__name__})"
    return ""


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
