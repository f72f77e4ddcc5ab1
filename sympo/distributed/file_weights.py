"""Reads the rows of weights that a process holds from safetensors files.

`safetensors` maps a whole file as one storage of torch, of the size of the model; here only the
rows are read.
"""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch
from torch import Tensor

from sympo.distributed.hub_names import from_hub
from sympo.distributed.rows import names_of_weights, own_rows, recompute_buffers
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
_LONGEST_HEADER = 100_000_000


@torch.no_grad()
def read_weights(model: "PreTrainedModel", folder: Path) -> None:
    """Fill a sharded model from a folder in the hub's format, reading only the rows of this
    process.

    Raises BadInput for files that are incomplete, and for weights that no file has or that have
    another shape there.
    """
    with ExitStack() as stack:
        rename = from_hub(model)
        stored = {rename(name): one for name, one in _stored(folder, stack)}
        for names, weight in names_of_weights(model):
            one = _find(stored, names, model.base_model_prefix, folder)
            if one.shape != tuple(weight.shape):
                raise BadInput(
                    f"{folder}: {names[0]} has the shape {one.shape}, but the model's config asks "
                    f"for {tuple(weight.shape)}"
                )
            rows = own_rows(weight)
            rows.local.copy_(one.rows(rows.start, len(rows.local)))
    recompute_buffers(model)


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file, whose bytes begin at `offset`."""

    file: IO[bytes]
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    def rows(self, start: int, count: int) -> Tensor:
        found = torch.empty((count, *self.shape[1:]), dtype=self.dtype)
        if found.numel():
            memory = found.view(torch.uint8).numpy().reshape(-1)
            self.file.seek(self.offset + start * (memory.nbytes // count))
            if self.file.readinto(memory) != memory.nbytes:  # type: ignore[attr-defined]
                raise BadInput(f"{self.file.name} is not a complete safetensors file")
        return found


def _find(stored: dict[str, _Stored], names: list[str], prefix: str, folder: Path) -> _Stored:
    """A weight under one of its names, with or without the model's prefix, which files of a model
    without a head leave out."""
    for name in (*names, *(name.removeprefix(f"{prefix}.") for name in names)):
        if name in stored:
            return stored[name]
    raise BadInput(f"{folder} lacks the weights of {names[0]}")


def _stored(folder: Path, stack: ExitStack) -> Iterator[tuple[str, _Stored]]:
    """The tensors of a folder by name; files stay open with the stack."""
    if (index := folder / INDEX).is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (folder / SINGLE).is_file():
        names = [SINGLE]
    else:
        raise BadInput(f"{folder} has neither {SINGLE} nor {INDEX}")
    for name in names:
        file = folder / name
        try:
            opened = stack.enter_context(file.open("rb"))
            yield from _header(opened, file.stat().st_size)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise BadInput(f"{file} is not a complete safetensors file: {reason}") from error


def _header(file: IO[bytes], size: int) -> Iterator[tuple[str, _Stored]]:
    """What a file's head says about its tensors; raises ValueError if it cannot be true.

    Source: https://github.com/huggingface/safetensors#format.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= min(size - 8, _LONGEST_HEADER):
        raise ValueError(f"its head has {length} of {size} bytes")
    entries = json.loads(file.read(length))
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        dtype, shape = DTYPES[entry["dtype"]], tuple(map(int, entry["shape"]))
        begin, end = entry["data_offsets"]
        needed = math.prod(shape) * dtype.itemsize
        if not 0 <= begin <= end <= size - 8 - length or end - begin != needed or min(shape) < 0:
            raise ValueError(f"{name} lies outside of it")
        yield name, _Stored(file, dtype, shape, 8 + length + begin)
