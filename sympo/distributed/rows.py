"""Which rows of a model's weights a process holds."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Rows:
    """The rows of a weight that this process holds: `local`, from row `start` of the whole."""

    local: Tensor
    start: int


def own_rows(weight: Tensor) -> Rows:
    """The rows that FSDP2 leaves to this process: of ceil(rows / processes) each, in their order.

    A tensor that is not divided, such as a buffer, is whole in each process.
    """
    if not isinstance(weight, DTensor):
        return Rows(weight, 0)
    mesh = weight.device_mesh
    each = math.ceil(weight.shape[0] / mesh.size())
    start = min(mesh.get_local_rank() * each, weight.shape[0])
    return Rows(weight.to_local(), start)


def names_of_weights(model: nn.Module) -> Iterator[tuple[list[str], Tensor]]:
    """Each parameter and each saved buffer once, with all of its names; tied ones have several."""
    saved = model.state_dict().keys()
    buffers = ((name, one) for name, one in model.named_buffers() if name in saved)
    names: dict[Tensor, list[str]] = defaultdict(list)
    for name, one in (*model.named_parameters(remove_duplicate=False), *buffers):
        names[one].append(name)
    for one, all_names in names.items():
        yield all_names, one


@torch.no_grad()
def recompute_buffers(model: "PreTrainedModel") -> None:
    """Compute the buffers that no file has, such as the frequencies of rotary positions, by the
    model's own initialisation, which leaves weights that are marked as loaded."""
    saved = model.state_dict().keys()
    for _, weight in names_of_weights(model):
        mark(weight)
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        own = [prefix + key for key, _ in module.named_buffers(recurse=False)]
        if any(key not in saved for key in own):
            model._init_weights(module)  # type: ignore[no-untyped-call]


def mark(weight: Any) -> None:
    """Mark a weight as loaded, for `transformers`."""
    weight._is_hf_initialized = True
