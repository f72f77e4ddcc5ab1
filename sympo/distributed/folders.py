"""Writes a sharded model as a folder in the hub's format, one weight at a time."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from sympo.disk import write_atomically
from sympo.distributed.file_weights import DTYPES, INDEX, SINGLE
from sympo.distributed.hub_names import to_hub
from sympo.distributed.rows import names_of_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BYTES_PER_FILE = 5_000_000_000
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class _Weight:
    name: str
    tensor: Tensor

    @property
    def bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


@torch.no_grad()
def gather_to_folder(
    model: "PreTrainedModel", folder: Path, bytes_per_file: int = BYTES_PER_FILE
) -> None:
    """Write a sharded model to a folder that `transformers` loads; the first process writes.

    All processes must call it; each holds one whole weight at a time. bytes_per_file: of a
    safetensors file, which holds at least one weight.
    """
    rename = to_hub(model)
    weights = [_Weight(rename(names[0]), one) for names, one in names_of_weights(model)]
    groups = list(_groups(weights, bytes_per_file))
    files = {_file(number, len(groups)): group for number, group in enumerate(groups, 1)}
    writes = dist.get_rank() == 0
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("*.safetensors"), folder / INDEX):
            old.unlink(missing_ok=True)
    for name, group in files.items():
        if writes:
            with (folder / name).open("wb") as file:
                file.write(_header(group))
                for weight in group:
                    _write(file, _whole(weight.tensor))
                file.flush()
                os.fsync(file.fileno())
        else:
            for weight in group:
                _whole(weight.tensor)
    if writes:
        if len(files) > 1:
            _write_index(folder, files)
        model.config.save_pretrained(folder)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(folder)
    dist.barrier()


def _groups(weights: list[_Weight], limit: int) -> Iterator[list[_Weight]]:
    group: list[_Weight] = []
    for weight in weights:
        if group and sum(one.bytes for one in group) + weight.bytes > limit:
            yield group
            group = []
        group.append(weight)
    yield group


def _file(number: int, files: int) -> str:
    return SINGLE if files == 1 else f"model-{number:05d}-of-{files:05d}.safetensors"


def _whole(tensor: Tensor) -> Tensor:
    """Gathers a weight in all processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _header(group: list[_Weight]) -> bytes:
    """The head of a safetensors file: its length as 8 bytes, and where each tensor lies, in JSON.

    Source: https://github.com/huggingface/safetensors#format.
    """
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for weight in group:
        entries[weight.name] = {
            "dtype": _NAMES[weight.tensor.dtype],
            "shape": list(weight.tensor.shape),
            "data_offsets": [offset, offset + weight.bytes],
        }
        offset += weight.bytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(file: IO[bytes], tensor: Tensor) -> None:
    file.write(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _write_index(folder: Path, files: dict[str, list[_Weight]]) -> None:
    index = {
        "metadata": {"total_size": sum(one.bytes for group in files.values() for one in group)},
        "weight_map": {one.name: name for name, group in files.items() for one in group},
    }
    write_atomically(folder / INDEX, json.dumps(index, indent=2))
