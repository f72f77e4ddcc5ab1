"""Memory of sharded models: recorded while they run, and counted before."""

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sympo.distributed.sharding import layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# moments of AdamW for each weight
_MOMENTS = 2


class Peaks:
    """Records the allocations of a `with` block on a device, by torch's profiler.

    device_type: `cpu` or `cuda`. The records are those of torch's allocators, storages that are
    resized included, in the threads of the passes; copies inside a communication library and mapped
    files are not among them.

    largest: bytes of the largest allocation.
    """

    def __init__(self, device_type: str = "cpu") -> None:
        self._device = {"cpu": 0, "cuda": 1}[device_type]
        self._profile = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        )
        self.largest = 0

    def __enter__(self) -> "Peaks":
        self._profile.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._profile.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        results: Any = self._profile.profiler
        self.largest = max(
            event.nbytes()
            for event in results.kineto_results.events()
            if event.name() == "[memory]" and int(event.device_type()) == self._device
        )


@dataclass(frozen=True)
class Counted:
    """Bytes of one of several processes that train a sharded model.

    parameters, gradients, moments: its rows; unit: the largest unit that is whole at a time, in the
    precision of the shards; processes: how many there are.
    """

    processes: int
    parameters: int
    gradients: int
    moments: int
    unit: int

    @property
    def states(self) -> int:
        """What a process holds between steps, and gradients."""
        return self.parameters + self.gradients + self.moments

    @property
    def largest(self) -> int:
        """The bound of a single tensor: the rows of the parameters and one whole unit."""
        return self.parameters + self.unit


def count(model: "PreTrainedModel", processes: int, bytes_per_weight: int = 4) -> Counted:
    """Count the memory of the process with the most rows; the model may be on the device `meta`.

    bytes_per_weight: of the shards: 4 for float32 and bfloat16 training.
    """
    rows = sum(_rows(weight, processes) for weight in model.parameters()) * bytes_per_weight
    unit = max(units(model).values()) * bytes_per_weight
    return Counted(processes, rows, rows, _MOMENTS * rows, unit)


def units(model: "PreTrainedModel") -> dict[str, int]:
    """Weights of each unit that is whole at a time: of the layers, by name, and of the rest."""
    names = {module: name for name, module in model.named_modules()}
    found = {names[layer]: _size(layer) for layer in layers(model)}
    return {**found, "rest": _size(model) - sum(found.values())}


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _rows(weight: torch.Tensor, processes: int) -> int:
    """The largest share: ceil(rows / processes) rows."""
    return -(-weight.shape[0] // processes) * (weight.numel() // weight.shape[0])
