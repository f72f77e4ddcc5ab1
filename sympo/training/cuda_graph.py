"""A training step as one launch: recorded as a CUDA graph, and replayed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

Function = Callable[..., Tensor]


class Graph(Protocol):
    """A recorded call, which can be repeated on the contents of the same tensors."""

    def replay(self) -> None: ...


Recorder = Callable[[Function, Sequence[Tensor]], tuple[Graph, Tensor]]


@dataclass(frozen=True)
class _Recorded:
    graph: Graph
    inputs: Sequence[Tensor]
    output: Tensor


class Replayed:
    """A function that is recorded at its second call with arguments of a shape, and replayed from
    then on. The first call of each shape compiles kernels and sets up libraries.

    function: reads and writes nothing but its arguments and tensors that stay in place, draws no
        random numbers, and does not wait for the device. It returns one tensor, which lasts until
        the next call.
    note: shows one sentence if recording fails, as it does if a loss calls `.item()`; the function
        then runs without a graph.
    record: makes a graph of a call; tests replace it where there is no GPU.
    """

    def __init__(
        self,
        function: Function,
        note: Callable[[str], object],
        record: Recorder | None = None,
    ) -> None:
        self.function, self.note = function, note
        self.record = CUDAGraphs() if record is None else record
        self.works = True
        self._recorded: dict[tuple[torch.Size, ...], _Recorded | None] = {}

    def __call__(self, *arguments: Tensor) -> Tensor:
        shape = tuple(one.shape for one in arguments)
        if not self.works or shape not in self._recorded:
            self._recorded.setdefault(shape, None)
            return self.function(*arguments)
        found = self._recorded[shape] or self._first(shape, arguments)
        if found is None:
            return self.function(*arguments)
        for buffer, argument in zip(found.inputs, arguments, strict=True):
            buffer.copy_(argument)
        found.graph.replay()
        return found.output

    def _first(
        self, shape: tuple[torch.Size, ...], arguments: Sequence[Tensor]
    ) -> _Recorded | None:
        inputs = [one.clone() for one in arguments]
        try:
            graph, output = self.record(self.function, inputs)
        except Exception as error:
            reason = " ".join(str(error).split("\n")[0].split())
            self.note(f"steps are not recorded as a CUDA graph, so small batches wait: {reason}")
            self.works = False
            self._recorded.clear()
            return None
        found = self._recorded[shape] = _Recorded(graph, inputs, output)
        return found


class CUDAGraphs:
    """Records calls as CUDA graphs that share their memory, since one runs after the other."""

    @cached_property
    def _pool(self) -> Any:  # an opaque handle
        return torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Graph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(inputs[0].device), torch.cuda.graph(graph, pool=self._pool):
            output = function(*inputs)
        return graph, output
