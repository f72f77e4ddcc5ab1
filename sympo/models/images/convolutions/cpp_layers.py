"""Two convolutions with max-pool and ReLU on CPU, in C++ compiled for the network and processor:
training takes a third of the time that it takes with PyTorch's operators.

A block holds as many images as a vector register has lanes (16 floats with AVX-512), one number of
each image per vector, so that every operation is a vector operation; a block passes through both
layers while it is in cache. Without a compiler, `tiled_products` computes the same.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sympo.native.cpp_calls import call, in_parts
from sympo.native.cpp_compiler import compiled

SOURCE = resources.files(__package__) / "convolutions.cpp"
TYPES = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Network:
    """The network that the code is compiled for.

    size: height and width of an image; channels: of both layers; padding: zero pixels on each side
    before each convolution.
    """

    size: tuple[int, int]
    channels: tuple[int, int]
    kernel_size: int
    padding: int
    dtype: torch.dtype


class Convolutions:
    """The compiled layers of one network."""

    def __init__(self, network: Network, library: ctypes.CDLL) -> None:
        self.network, self.library, self.lanes = network, library, library.lanes()
        k, padding = network.kernel_size, network.padding
        padded = [side + 2 * padding for side in network.size]
        pooled = [(side - k + 1) // 2 for side in padded]
        self.image = padded[0] * padded[1]
        self.middle = (network.channels[0], *(side + 2 * padding for side in pooled))
        self.winners = network.channels[0] * pooled[0] * pooled[1]
        last = [(side - k + 1) // 2 for side in self.middle[1:]]
        self.features = network.channels[1] * last[0] * last[1]

    def __call__(
        self,
        images: Tensor,
        cells_per_seed: Sequence[int],
        one: tuple[Tensor, Tensor],
        two: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        """Features (C, features, n) of images (S, n, H, W), a batch for each seed.

        one, two: weight and bias of both layers, stacked over cells; mask: (S, features, n), the
        factors of dropout.
        """
        n, padding = images.shape[1], self.network.padding
        spare = -n % self.lanes
        seed = torch.arange(len(images)).repeat_interleave(torch.tensor(cells_per_seed))
        x = F.pad(images, (padding,) * 4 + (0, spare)) if padding or spare else images
        x = x.reshape(len(images), -1, self.lanes, self.image).transpose(2, 3).contiguous()
        if mask is not None:
            mask = F.pad(mask, (0, spare)) if spare else mask.contiguous()
        features: Tensor = _Features.apply(
            self, torch.is_grad_enabled(), seed, x, mask, *one, *two
        )  # fmt: skip
        return features[..., :n]


@cache
def convolutions(network: Network) -> Convolutions | None:
    """The compiled layers of a network, compiled once; None if they do not compile here."""
    if network.dtype not in TYPES:
        return None
    library = compiled(
        [SOURCE],
        (
            ("REAL", TYPES[network.dtype]),
            *zip(("HEIGHT", "WIDTH"), network.size, strict=True),
            *zip(("CHANNELS1", "CHANNELS2"), network.channels, strict=True),
            ("KERNEL", network.kernel_size),
            ("PADDING", network.padding),
        ),
    )
    return None if library is None else Convolutions(network, library)


class _Features(torch.autograd.Function):
    """Both layers on blocks of images (S, blocks, pixels, lanes)."""

    @staticmethod
    def forward(
        ctx: Any, layers: Convolutions, trained: bool, seed: Tensor, x: Tensor,
        mask: Tensor | None, *weights: Tensor,
    ) -> Tensor:  # fmt: skip
        w1, b1, w2, b2 = (weight.contiguous() for weight in weights)
        cells, blocks = len(seed), x.shape[1]
        # borders of padding stay 0
        new = x.new_zeros if layers.network.padding else x.new_empty
        middle = new(cells, blocks, *layers.middle, layers.lanes)
        features = x.new_empty(cells, layers.features, blocks * layers.lanes)
        winners = [
            torch.empty(cells, blocks, count, layers.lanes, dtype=torch.int8) if trained else None
            for count in (layers.winners, layers.features)
        ]

        def work(part: int, start: int, end: int) -> None:
            call(
                layers.library.forward, cells, blocks, start, end, seed, x, mask, w1, b1, w2, b2,
                middle, features, *winners,
            )  # fmt: skip

        in_parts(blocks, work)
        ctx.layers = layers
        ctx.save_for_backward(seed, x, mask, w1, b1, w2, b2, middle, *winners)
        return features

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layers: Convolutions = ctx.layers
        seed, x, mask, w1, b1, w2, b2, middle, *winners = ctx.saved_tensors
        grad, cells, blocks = grads[0].contiguous(), len(seed), x.shape[1]
        parts = min(torch.get_num_threads(), blocks)
        found = [[torch.zeros_like(weight) for weight in (w1, b1, w2, b2)] for _ in range(parts)]

        def work(part: int, start: int, end: int) -> None:
            call(
                layers.library.backward, cells, blocks, start, end, seed, x, mask, w2, middle,
                *winners, grad, *found[part],
            )  # fmt: skip

        in_parts(blocks, work)
        sums = [torch.stack(parts).sum(0) for parts in zip(*found, strict=True)]
        return None, None, None, None, None, *sums
