"""Reward models of images: the paper's convolutional network, many cells side by side.

Tensors are laid out features first, images last, (cells, features, images), so that every layer is
one matrix product and pooling compares contiguous vectors. A 2x2 max-pool after a kxk convolution
reads a (k+1)x(k+1) tile of the input for each output: the tiles are copied out once (for the first
layer once for all cells that see the same images) and the four convolutions of a pool are one
product with the kernel written at four offsets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sympo import seeding
from sympo.types import BadInput


@dataclass(frozen=True)
class CNN:
    """conv, pool, conv, pool, then three dense layers with batch norm and dropout.

    Every conv is followed by a 2x2 max-pool and ReLU, the dense layers before the last by batch
    norm and ReLU; dropout stands before each dense layer; the reward is clamped to +-clamp.
    Source: arXiv 2505.24709, MNIST preference (kernel 5, channels 6 and 16, hidden 64).

    padding: zero pixels added on each side before each convolution.
    clamp: None leaves the reward free.
    """

    channels: tuple[int, int] = (6, 16)
    kernel_size: int = 5
    padding: int = 0
    hidden: int = 64
    dropout: float = 0.2
    clamp: float | None = 20.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise BadInput(f"model.channels={list(self.channels)} must be two numbers above 0")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"model.dropout={self.dropout} must lie in [0, 1)")
        if self.clamp is not None and not self.clamp > 0:
            raise BadInput(f"model.clamp={self.clamp} must be above 0, or null")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise BadInput(f"model.kernel_size={self.kernel_size} must be an odd number above 0")
        if self.padding < 0 or self.hidden < 1:
            raise BadInput(
                f"model.padding={self.padding} and model.hidden={self.hidden} must be at least 0 "
                "and 1"
            )

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise BadInput where images of this size do not fit."""
        self.pooled_sizes(image_size)

    def pooled_sizes(self, image_size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width after each pool; BadInput where the image does not fit."""
        sizes, size = [], image_size
        for _ in self.channels:
            out = [side + 2 * self.padding - self.kernel_size + 1 for side in size]
            if min(out) < 2 or any(side % 2 for side in out):
                raise BadInput(
                    f"model: images of {image_size[0]}x{image_size[1]} do not fit kernel_size="
                    f"{self.kernel_size} with padding={self.padding}, which makes {out[0]}x{out[1]}"
                    " where the pool needs even sides; use another model"
                )
            size = (out[0] // 2, out[1] // 2)
            sizes.append(size)
        return sizes

    def build(
        self, image_size: tuple[int, int], seeds: Sequence[int], cells_per_seed: Sequence[int]
    ) -> "StackedCNN":
        """Reward models for `cells_per_seed[i]` cells of each seed; equal seeds, equal weights."""
        return StackedCNN(self, image_size, seeds, cells_per_seed)


class StackedCNN(nn.Module):
    """C copies of a CNN with a leading cell dimension on every parameter.

    The cells of one seed stand together. Given images (S, N, H, W), one batch per seed, it returns
    rewards (C, N). Dropout masks are drawn per seed and shared by its cells.
    """

    seed_of_cell: Tensor

    def __init__(
        self,
        config: CNN,
        image_size: tuple[int, int],
        seeds: Sequence[int],
        cells_per_seed: Sequence[int],
    ) -> None:
        super().__init__()
        self.config = config
        self.seeds = tuple(seeds)
        self.cells_per_seed = tuple(cells_per_seed)
        self.register_buffer("seed_of_cell", _repeat(len(seeds), cells_per_seed), persistent=False)
        one, two = config.channels
        k = config.kernel_size
        sizes = config.pooled_sizes(image_size)
        features = two * sizes[1][0] * sizes[1][1]
        shapes = {
            "conv1": ((one, 1, k, k), k * k),
            "conv2": ((two, one, k, k), one * k * k),
            "dense1": ((config.hidden, features), features),
            "dense2": ((config.hidden, config.hidden), config.hidden),
            "dense3": ((1, config.hidden), config.hidden),
        }
        for name, (shape, fan_in) in shapes.items():
            self.register_parameter(f"{name}_weight", self._initial(name, "weight", shape, fan_in))
            # batch norm, which follows the first two dense layers, has a bias of its own
            if name not in ("dense1", "dense2"):
                self.register_parameter(
                    f"{name}_bias", self._initial(name, "bias", (shape[0],), fan_in)
                )
        cells = len(self.seed_of_cell)
        for name in ("norm1", "norm2"):
            width = (cells * config.hidden,)
            self.register_parameter(f"{name}_weight", nn.Parameter(torch.ones(width)))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)))
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_var", torch.ones(width))
        for name, channels in (("tile1", (one, 1)), ("tile2", (two, one))):
            self.register_buffer(name, _tile_index(*channels, k), persistent=False)
        self._generators: list[torch.Generator] = []

    def _initial(self, layer: str, kind: str, shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
        # PyTorch's default for convolutions and dense layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in))
        bound = 1 / math.sqrt(fan_in)
        draws = [
            seeding.generator(seed, "init", layer, kind).uniform(-bound, bound, shape)
            for seed in self.seeds
        ]
        stacked = torch.from_numpy(np.stack(draws)).to(torch.get_default_dtype())
        return nn.Parameter(stacked[self.seed_of_cell])

    def forward(self, images: Tensor) -> Tensor:
        seeds, n = images.shape[:2]
        # images last in memory too: tiles are then copied in whole rows, six times as fast
        x = images.flatten(2).transpose(1, 2).contiguous().view(seeds, 1, *images.shape[2:], n)
        x = self._conv(self._shared_conv(self._pad(x)))
        x = x.flatten(1, -2)
        for layer in ("1", "2"):
            x = self._norm(f"norm{layer}", _product(self._p(f"dense{layer}_weight"), self._drop(x)))
            x = F.relu(x)
        x = _product(self._p("dense3_weight"), self._drop(x)) + self._p("dense3_bias").unsqueeze(-1)
        x = x.squeeze(1)
        return x if self.config.clamp is None else x.clamp(-self.config.clamp, self.config.clamp)

    def _pad(self, x: Tensor) -> Tensor:
        padding = self.config.padding
        return F.pad(x, (0, 0) + (padding,) * 4) if padding else x

    def _p(self, name: str) -> Any:
        return getattr(self, name)

    def _shared_conv(self, x: Tensor) -> Tensor:
        """The first layer: the tiles of a seed's images serve all of its cells in one product."""
        k = self.config.kernel_size
        kernels = _tiled(self._p("conv1_weight"), self._p("tile1")).split(self.cells_per_seed)
        products = [
            (kernel.flatten(0, 1) @ tiles).view(len(kernel), kernel.shape[1], -1)
            for kernel, tiles in zip(kernels, _tiles(x, k), strict=True)
        ]
        out = products[0] if len(products) == 1 else torch.cat(products)
        return self._pool(out, self._p("conv1_bias"), x.shape)

    def _conv(self, x: Tensor) -> Tensor:
        x = self._pad(x)
        tiles = _tiles(x, self.config.kernel_size)
        out = _product(_tiled(self._p("conv2_weight"), self._p("tile2")), tiles)
        return self._pool(out, self._p("conv2_bias"), x.shape)

    def _pool(self, out: Tensor, bias: Tensor, shape: torch.Size) -> Tensor:
        height, width = ((side - self.config.kernel_size + 1) // 2 for side in shape[2:4])
        cells, channels = bias.shape
        out = out.view(cells, 4, channels, -1)
        pooled: Any = (
            _PoolReLU.apply(out, bias)
            if torch.is_grad_enabled()
            else F.relu(out.amax(1) + bias.unsqueeze(-1))
        )
        return pooled.view(cells, channels, height, width, shape[-1])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        cells, width, n = x.shape
        out = F.batch_norm(
            x.reshape(1, cells * width, n),
            self._p(f"{name}_mean"),
            self._p(f"{name}_var"),
            self._p(f"{name}_weight"),
            self._p(f"{name}_bias"),
            training=self.training,
        )
        return out.view(cells, width, n)

    def _drop(self, x: Tensor) -> Tensor:
        rate = self.config.dropout
        if not self.training or rate == 0:
            return x
        if not self._generators:
            self._generators = [
                torch.Generator(x.device).manual_seed(seeding.derive(seed, "dropout"))
                for seed in self.seeds
            ]
        kept = torch.stack([_keep(x.shape[1:], rate, g) for g in self._generators])
        mask = kept.to(x.dtype).div_(1 - rate)
        return x * (mask if len(mask) == 1 else mask[self.seed_of_cell])


def _repeat(seeds: int, cells_per_seed: Sequence[int]) -> Tensor:
    return torch.arange(seeds).repeat_interleave(torch.tensor(cells_per_seed))


def _keep(shape: torch.Size, rate: float, generator: torch.Generator) -> Tensor:
    """Which units dropout keeps; each is kept with probability 1 - rate, to 2^-17.

    Four 16-bit numbers are cut from each 64-bit draw: a float per unit takes three times as long.
    """
    count = shape.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64, device=generator.device)
    draws.random_(-(2**63), None, generator=generator)
    return draws.view(torch.int16)[:count].view(shape) >= round(rate * 2**16) - 2**15


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """(C, out, in) @ (C, in, n); a plain product is faster than a batch of one on CPU."""
    if len(weight) > 1:
        return torch.bmm(weight, x)
    # squeezed, not indexed: the gradient of an index fills and copies the whole tensor
    return (weight.squeeze(0) @ x.squeeze(0)).unsqueeze(0)


def _tile_index(out: int, channels: int, k: int) -> Tensor:
    """Where each weight of a kernel (out, channels, k, k) stands in the four tile kernels.

    Returns (4 * out, channels * (k+1)^2) indices into the flattened kernel with one zero appended.
    """
    weights = out * channels * k * k
    index = torch.full((2, 2, out, channels, k + 1, k + 1), weights)
    for row in range(2):
        for column in range(2):
            index[row, column, :, :, row : row + k, column : column + k] = torch.arange(
                weights
            ).view(out, channels, k, k)
    return index.view(4 * out, -1)


def _tiled(kernel: Tensor, index: Tensor) -> Tensor:
    """(C, out, channels, k, k) -> (C, 4 * out, channels * (k+1)^2)."""
    return F.pad(kernel.flatten(1), (0, 1))[:, index]


def _tiles(x: Tensor, kernel_size: int) -> Tensor:
    """(C, channels, H, W, n) -> (C, channels * (k+1)^2, places * n), a tile for every pool."""
    tiles: Any = _Tiles.apply(x, kernel_size + 1)
    return tiles.flatten(1, 3).flatten(2)


class _Tiles(torch.autograd.Function):
    """Overlapping tiles of an even side at stride 2; their gradient is added back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.side, ctx.shape = side, x.shape
        return x.unfold(2, side, 2).unfold(3, side, 2).permute(0, 1, 5, 6, 2, 3, 4).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        blocks, (height, width) = ctx.side // 2, grad.shape[4:6]
        # neighbouring tiles overlap in whole 2x2 blocks: add those, not single pixels
        grad = grad.unflatten(3, (blocks, 2)).unflatten(2, (blocks, 2))
        out = grad.new_zeros(ctx.shape)
        view = out.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        for row in range(blocks):
            for column in range(blocks):
                # (C, channels, 2, 2, height, width, n) -> (C, channels, height, 2, width, 2, n)
                part = grad[:, :, row, :, column].permute(0, 1, 4, 2, 5, 3, 6)
                view[:, :, row : row + height, :, column : column + width] += part
        return out, None


class _PoolReLU(torch.autograd.Function):
    """relu(max over the four convolutions of a pool + bias); (C, 4, c, m), (C, c) -> (C, c, m).

    The four stand in rows of two. Which one won is kept as two bits, its row and its column, and
    the gradient goes to it alone. Everything is written so that it vectorises: no `where` on bytes,
    no product of a float with a bool.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        a, b, c, d = x.unbind(1)
        right_above, right_below = b > a, d > c
        above, below = torch.maximum(a, b), torch.maximum(c, d)
        lower = below > above
        right = right_above ^ ((right_above ^ right_below) & lower)
        out = torch.maximum(above, below, out=above).add_(bias.unsqueeze(-1)).clamp_(min=0)
        ctx.save_for_backward(lower, right, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        lower, right, out = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grads[0], out, 0)
        cells, channels, m = grad.shape
        x = grad.new_empty(cells, 4, channels, m)
        a, b, c, d = x.unbind(1)
        lower, right = lower.to(grad.dtype), right.to(grad.dtype)
        torch.mul(grad, lower, out=c)
        torch.sub(grad, c, out=a)
        torch.mul(c, right, out=d)
        c -= d
        torch.mul(a, right, out=b)
        a -= b
        return x, grad.sum(-1)
