"""Sizes of Llamas, the FLOPs of their training, and the rate of a device's matrix products."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sympo.models.texts.token_logps import chunk

# dense bfloat16 FLOP/s, from the vendor's datasheets
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    tied: bool = False

    @property
    def weights(self) -> int:
        """Number of weights in the layers' matrices."""
        narrow = self.hidden * self.key_heads // self.heads
        attention = 2 * self.hidden**2 + 2 * self.hidden * narrow
        return self.layers * (attention + 3 * self.hidden * self.intermediate)


SHAPES = {
    "small": Shape(32_000, 384, 1024, 6, 6, 6),
    "llama-3.2-1b": Shape(128_256, 2048, 8192, 16, 32, 8, tied=True),
    "llama-3.2-3b": Shape(128_256, 3072, 8192, 28, 24, 8, tied=True),
}


def flops(shape: Shape, lengths: np.ndarray, scored: float, again: bool = True) -> float:
    """FLOPs of the matrix products of a step, forward and backward.

    lengths: tokens of each sequence. scored: tokens whose logits are computed.
    again: whether to include the recomputation of attention scores and logits in the backward pass.
    """
    attention = shape.layers * (14 if again else 12) * shape.hidden * (lengths**2).sum()
    head = (8 if again else 6) * shape.vocabulary * shape.hidden * scored
    return 6 * shape.weights * lengths.sum() + attention + head


def matrix_rate(
    shape: Shape,
    device: str,
    logits: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """FLOP/s of matrix products in the model's sizes: those of a layer on 3,072 tokens, and the
    logits, if it has any, of one chunk of our head; bfloat16 on a GPU."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(3072, shape.hidden, shape.hidden)] * 4
    sizes += [(3072, shape.hidden, shape.intermediate)] * 3
    if logits:
        sizes += [(chunk(shape.vocabulary, torch.device(device)), shape.hidden, shape.vocabulary)]
    operands = [
        (
            torch.randn(n, k, device=device, dtype=dtype),
            torch.randn(k, m, device=device, dtype=dtype),
        )
        for n, k, m in sizes
    ]
    took = []
    for _ in range(5):
        start = clock()
        for a, b in operands:
            a @ b
        if device != "cpu":
            torch.cuda.synchronize(device)
        took.append(clock() - start)
    return 2 * sum(n * k * m for n, k, m in sizes) / min(took)
