"""Log-probabilities under small Llamas on CPU, in C++ compiled for their shape and the processor.

A few whole rows, without padding, pass through all layers while they are in cache. Tokens that
predict nothing are left out if no other token sees them. Without a compiler, `StackedLlama`
computes the same with PyTorch's operators.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sympo import native
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.row_grids import PredictingTokens, RowGrid
from sympo.native.cpp_calls import call, in_parts
from sympo.native.cpp_compiler import compiled

_FOLDER = resources.files(__package__) / "llama"
SOURCES = (
    resources.files(native) / "products.cpp",
    *(_FOLDER / f"{name}.cpp" for name in ("weights", "blocks", "attention", "passes", "sampling")),
)
# of a cell, 4 MiB
MOST_WEIGHTS = 1 << 20


class CompiledLlama:
    """The compiled passes of Llamas of one shape."""

    def __init__(self, shape: LlamaShape, library: ctypes.CDLL) -> None:
        self.shape, self.forward, self.backward = shape, library.forward, library.backward
        self._kept, self._sample = library.kept, library.sample
        self._kept.restype = ctypes.c_long
        turns = shape.turns(torch.complex64)
        width = library.head_width()
        # cosines and sines of pairs, the sine's sign first negative; zero beyond a head
        self.turns = torch.zeros(shape.positions, 2, width, dtype=torch.float32)
        self.turns[:, 0, : shape.head] = turns.real.repeat_interleave(2, 1)
        self.turns[:, 1, : shape.head] = torch.stack([-turns.imag, turns.imag], 2).flatten(1)
        self._spare: list[Tensor] = []

    def logps(self, weights: Tensor, grid: RowGrid) -> Tensor:
        """Summed log-probabilities of the responses of rows; (C, rows, sides).

        weights: (C, P) float32, contiguous, in the order of `LlamaShape.parts`.
        Raises BadInput if a token or a position is beyond the model.
        """
        self.shape.check(*grid.table.predicting.largest)
        trained = torch.is_grad_enabled() and weights.requires_grad
        found: Tensor = _Logps.apply(self, trained, weights, grid)
        return found

    def sample(
        self, weights: Tensor, prompts: Sequence[np.ndarray], noise: Tensor, end: int, pad: int
    ) -> tuple[Tensor, Tensor]:
        """One response of each cell to each of n prompts: token v of a step that maximises
        p_v / noise_v, up to and including `end`.

        noise: (steps, n, vocabulary) float32, shared by cells. Returns ids (C, n, steps), `pad`
        after the end, and the log-probability of each response (C, n), float64. Raises BadInput if
        a token or a position is beyond the model.
        """
        steps, n, _ = noise.shape
        ids = torch.from_numpy(np.concatenate(prompts).astype(np.int64, copy=False))
        # the last token that is drawn is not read
        self.shape.check(int(ids.max()), max(map(len, prompts)) + steps - 2)
        offset = torch.tensor([0, *map(len, prompts)]).cumsum(0)
        weights, noise, cells = weights.detach().contiguous(), noise.contiguous(), len(weights)
        found = torch.empty(cells, n, steps, dtype=torch.int64)
        total = torch.empty(cells, n, dtype=torch.float64)
        in_parts(
            cells,
            lambda _, start, stop: call(
                self._sample, start, stop, ids, offset, n, steps, end, pad, self.turns,
                self.shape.epsilon, weights, noise, found, total,
            ),
        )  # fmt: skip
        return found, total

    def floats(self, table: PredictingTokens, index: Tensor) -> int:
        """How many numbers a pass keeps for the backward one, for each cell."""
        found: int = call(self._kept, table.addresses, index, len(index))
        return found

    def memory(self, floats: int) -> "Memory":
        """Memory that is used again when no pass needs it: fresh pages take time."""
        spare = self._spare.pop() if self._spare else None
        if spare is None or len(spare) < floats:
            spare = torch.empty(floats, dtype=torch.float32)
        return Memory(spare, self._spare)


class Memory:
    """A buffer that becomes the spare one when no pass needs it."""

    def __init__(self, buffer: Tensor, spare: list[Tensor]) -> None:
        self.buffer, self._spare = buffer, spare

    def __del__(self) -> None:
        self._spare[:] = [self.buffer]


def fits(shape: LlamaShape) -> bool:
    """Whether a cell is small enough for passes that keep its weights in the caches."""
    return shape.weights <= MOST_WEIGHTS


@cache
def compiled_llama(shape: LlamaShape) -> CompiledLlama | None:
    """The compiled passes of a shape, compiled once; None if they do not compile here."""
    library = compiled(
        SOURCES,
        (
            ("HIDDEN", shape.hidden),
            ("INTERMEDIATE", shape.intermediate),
            ("LAYERS", shape.layers),
            ("HEADS", shape.heads),
            ("HEAD", shape.head),
            ("VOCABULARY", shape.vocabulary),
        ),
    )
    return None if library is None else CompiledLlama(shape, library)


class _Logps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, llama: CompiledLlama, trained: bool, weights: Tensor, grid: RowGrid
    ) -> Tensor:
        table, cells, rows = grid.table.predicting, len(weights), len(grid.index)
        index = torch.from_numpy(np.ascontiguousarray(grid.index, np.int64))
        size, memory = 0, None
        if trained:
            size = llama.floats(table, index)
            memory = llama.memory(cells * size)
        scores = weights.new_empty(cells, rows, table.sides)
        same = (
            table.addresses, index, rows, table.sides, llama.turns, llama.shape.epsilon, weights,
            None if memory is None else memory.buffer, size,
        )  # fmt: skip
        in_parts(cells, lambda _, start, end: call(llama.forward, start, end, *same, scores))
        # the table and the memory must live as long as the pass
        ctx.llama, ctx.same, ctx.alive = llama, (*same[:6], *same[7:]), (table, memory)
        ctx.save_for_backward(weights)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weights,), grad = ctx.saved_tensors, grads[0].contiguous()
        found = torch.empty_like(weights)
        same = (*ctx.same[:6], weights, *ctx.same[6:])
        in_parts(
            len(weights),
            lambda _, start, end: call(ctx.llama.backward, start, end, *same, grad, found),
        )
        return None, None, found, None
