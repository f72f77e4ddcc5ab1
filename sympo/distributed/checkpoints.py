"""Checkpoints of sharded models that load under any number of processes.

A folder holds `checkpoint.json`, which names the current contents and a digest of each of its
files, and the contents, a folder in the format of `torch.distributed.checkpoint`. The file is
replaced last and at once, so that a checkpoint is the new or the old one at any moment.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from sympo.disk import write_atomically
from sympo.distributed.checkpoint_index import SafeReader
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMAT = 1
_INDEX, _STATE = "checkpoint.json", "state.pt"


def save_sharded(
    folder: Path,
    model: "PreTrainedModel",
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint durably, each process its rows; it replaces the folder's former one.

    state: nested dicts, lists, tensors and plain values, of which the first process's are written.
    Raises OSError if a process cannot write.
    """
    former = _former(folder) if dist.get_rank() == 0 else None
    name = _from_first(f"contents-{int(former.rpartition('-')[2]) + 1 if former else 1}")
    contents = folder / name
    if dist.get_rank() == 0:
        shutil.rmtree(contents, ignore_errors=True)  # of an interrupted attempt
        contents.mkdir(parents=True)
    dist.barrier()
    weights, moments = get_state_dict(model, optimizer)
    try:
        save(_tensors(weights, moments), storage_writer=FileSystemWriter(contents))
    except CheckpointException as error:
        raise OSError(f"the checkpoint {folder} was not written: {_reason(error)}") from error
    if dist.get_rank() == 0:
        _write_state(contents / _STATE, moments["param_groups"], state)
    dist.barrier()
    digests = _digests(contents)
    if dist.get_rank() == 0:
        index = {"format": FORMAT, "contents": name, "digests": digests}
        write_atomically(folder / _INDEX, json.dumps(index, indent=1))
        for other in folder.glob("contents-*"):
            if other != contents:
                shutil.rmtree(other, ignore_errors=True)
    dist.barrier()


def load_into(
    folder: Path, model: "PreTrainedModel", optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load a checkpoint into a sharded model and its optimizer; returns the state saved with it.

    Each process reads its rows alone. Nothing is read before its digest is found right, and nothing
    is unpickled that could run code. Raises BadInput if there is no checkpoint, or it is damaged.
    """
    index = _read_index(folder)
    contents = folder / index["contents"]
    _check(contents, index["digests"])
    weights, moments = get_state_dict(model, optimizer)
    try:
        load(_tensors(weights, moments), storage_reader=SafeReader(contents))
    except CheckpointException as error:
        raise BadInput(
            f"the checkpoint {folder} does not fit the model: {_reason(error)}"
        ) from error
    kept = torch.load(contents / _STATE, map_location="cpu", weights_only=True)
    moments["param_groups"] = kept["groups"]
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    state: dict[str, Any] = kept["state"]
    return state


def _tensors(weights: dict[str, Any], moments: dict[str, Any]) -> dict[str, Any]:
    # no plain values, which the format would pickle
    return {"model": weights, "optimizer": moments["state"]}


def _write_state(file: Path, groups: Any, state: Mapping[str, Any]) -> None:
    with file.open("wb") as opened:
        torch.save({"groups": groups, "state": dict(state)}, opened)
        opened.flush()
        os.fsync(opened.fileno())


def _reason(error: CheckpointException) -> str:
    failure = next(iter(error.failures.values()))[0]
    return " ".join(f"{type(failure).__name__}: {failure}".split())[:300]


def _from_first(value: str) -> str:
    """The first process's value, in all of them."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _former(folder: Path) -> str | None:
    file = folder / _INDEX
    try:
        former: str = json.loads(file.read_text())["contents"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return former


def _read_index(folder: Path) -> dict[str, Any]:
    file = folder / _INDEX
    try:
        index: dict[str, Any] = json.loads(file.read_text())
        fits = index["format"] == FORMAT and isinstance(index["digests"], dict)
        inside = Path(index["contents"]).name == index["contents"]
    except FileNotFoundError:
        raise BadInput(f"{folder} has no checkpoint: it lacks {_INDEX}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is damaged ({type(error).__name__})") from error
    if not fits or not inside:
        raise BadInput(f"{file} is not a checkpoint of format {FORMAT}")
    return index


def _digests(contents: Path) -> dict[str, str]:
    """The digest of each file, computed by the processes in turns."""
    names = sorted(file.name for file in contents.iterdir()) if contents.is_dir() else []
    own = {name: _digest(contents / name) for name in names[dist.get_rank() :: _processes()]}
    parts: list[dict[str, str] | None] = [None] * _processes()
    dist.all_gather_object(parts, own)
    return {name: digest for part in parts for name, digest in (part or {}).items()}


def _check(contents: Path, expected: dict[str, str]) -> None:
    """Raise BadInput, in all processes, if a file is missing or differs from what was written."""
    found = _digests(contents)
    for name, digest in expected.items():
        if found.get(name) != digest:
            what = "differs from what was written" if name in found else "is missing"
            raise BadInput(f"the checkpoint {contents.parent} is damaged: {name} {what}")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _processes() -> int:
    return dist.get_world_size()
