"""Tiles and pools of `tiled_products` on a GPU, in Triton, each in one pass over memory: they halve
the bytes of a training step, which is bound by memory traffic.

A step moves 395 KB per image and cell with PyTorch's operators, 190 KB with these kernels
(results/benchmarks/step_traffic.json). The order of every sum is fixed, so runs repeat bitwise.
"""

# Triton's decorators are untyped, and it reads the annotations of kernels itself
# mypy: disallow-untyped-defs=False, disallow-untyped-decorators=False
# mypy: disallow-untyped-calls=False, disallow-incomplete-defs=False

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

# the work of one program: adjacent images at several places of a tile or an image (more would not
# fit the registers), or a number of elements of a row
IMAGES, TILES, PIXELS = 256, 16, 4
NUMBERS = 1024


@triton.jit
def _cut(
    x, out, height, width, h, w, n,
    SIDE: tl.constexpr, PLACES: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """One pixel of every tile: (rows, height, width, n) -> (rows, SIDE, SIDE, h, w, n)."""
    pixel = tl.program_id(0).to(tl.int64)
    row, i, j = pixel // (SIDE * SIDE), pixel // SIDE % SIDE, pixel % SIDE
    place = tl.program_id(1) * PLACES + tl.arange(0, PLACES)[:, None]
    image = tl.program_id(2) * IMAGES + tl.arange(0, IMAGES)[None, :]
    inside = (place < h * w) & (image < n)
    y, z = place // w * 2 + i, place % w * 2 + j
    value = tl.load(x + ((row * height + y) * width + z) * n + image, mask=inside)
    tl.store(out + (pixel * h * w + place) * n + image, value, mask=inside)


@triton.jit
def _add_up(
    grad, out, height, width, h, w, n,
    SIDE: tl.constexpr, PLACES: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """The gradient of `_cut`: each pixel adds up what came to it from its tiles."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * PLACES + tl.arange(0, PLACES)[:, None]
    image = tl.program_id(2) * IMAGES + tl.arange(0, IMAGES)[None, :]
    inside = (place < height * width) & (image < n)
    y, z = place // width, place % width
    total = tl.zeros([PLACES, IMAGES], out.dtype.element_ty)
    for above in tl.static_range(SIDE // 2):
        for left in tl.static_range(SIDE // 2):
            top, side = y // 2 - above, z // 2 - left
            i, j = y % 2 + 2 * above, z % 2 + 2 * left
            there = inside & (top >= 0) & (top < h) & (side >= 0) & (side < w)
            tile = (((row * SIDE + i) * SIDE + j) * h + top) * w + side
            total += tl.load(grad + tile * n + image, mask=there, other=0.0)
    tl.store(out + (row * height * width + place) * n + image, total, mask=inside)


@triton.jit
def _pool(x, bias, out, winner, channels, m, NUMBERS: tl.constexpr):
    """relu(max of the four + bias) of one channel, and the winner; 4 if ReLU is zero."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * NUMBERS + tl.arange(0, NUMBERS)
    inside = i < m
    place = x + (row // channels * 4 * channels + row % channels) * m + i
    best = tl.load(place, mask=inside)
    won = tl.zeros([NUMBERS], tl.uint8)
    for other in tl.static_range(1, 4):
        place += channels * m
        value = tl.load(place, mask=inside)
        won = tl.where(value > best, other, won).to(tl.uint8)
        best = tl.maximum(best, value, propagate_nan=tl.PropagateNan.ALL)
    best += tl.load(bias + row)
    positive = tl.maximum(best, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + row * m + i, positive, mask=inside)
    tl.store(winner + row * m + i, tl.where(best <= 0, 4, won).to(tl.uint8), mask=inside)


@triton.jit
def _pool_backward(grad, winner, x, bias, channels, m, blocks, NUMBERS: tl.constexpr):
    """The gradient goes to the one that won; to the bias, one sum for each block of numbers."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    i = block * NUMBERS + tl.arange(0, NUMBERS)
    inside = i < m
    value = tl.load(grad + row * m + i, mask=inside, other=0.0)
    won = tl.load(winner + row * m + i, mask=inside, other=4)
    place = x + (row // channels * 4 * channels + row % channels) * m + i
    for one in tl.static_range(4):
        tl.store(place, tl.where(won == one, value, 0.0), mask=inside)
        place += channels * m
    tl.store(bias + row * blocks + block, tl.sum(tl.where(won < 4, value, 0.0)))


class Tiles(torch.autograd.Function):
    """Overlapping tiles of an even side at stride 2: (C, channels, H, W, n) ->
    (C, channels, side, side, h, w, n)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        cells, channels, height, width, n = x.shape
        h, w = (height - side) // 2 + 1, (width - side) // 2 + 1
        out = x.new_empty(cells, channels, side, side, h, w, n)
        ctx.side, ctx.shape = side, x.shape
        grid = (cells * channels * side**2, triton.cdiv(h * w, TILES), triton.cdiv(n, IMAGES))
        with torch.cuda.device_of(x):
            _cut[grid](x.contiguous(), out, height, width, h, w, n, side, TILES, IMAGES)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        cells, channels, height, width, n = ctx.shape
        h, w = grad.shape[4:6]
        out = grad.new_empty(ctx.shape)
        grid = (cells * channels, triton.cdiv(height * width, PIXELS), triton.cdiv(n, IMAGES))
        with torch.cuda.device_of(grad):
            _add_up[grid](grad, out, height, width, h, w, n, ctx.side, PIXELS, IMAGES)
        return out, None


class PoolReLU(torch.autograd.Function):
    """relu(max over the four convolutions of a pool + bias); (C, 4, c, m), (C, c) -> (C, c, m)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        cells, _, channels, m = x.shape
        out = x.new_empty(cells, channels, m)
        winner = torch.empty_like(out, dtype=torch.uint8)
        grid = (cells * channels, triton.cdiv(m, NUMBERS))
        with torch.cuda.device_of(x):
            _pool[grid](x.contiguous(), bias.contiguous(), out, winner, channels, m, NUMBERS)
        ctx.save_for_backward(winner)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (winner,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        cells, channels, m = grad.shape
        x, blocks = grad.new_empty(cells, 4, channels, m), triton.cdiv(m, NUMBERS)
        bias = grad.new_empty(cells, channels, blocks)
        grid = (cells * channels, blocks)
        with torch.cuda.device_of(grad):
            _pool_backward[grid](grad, winner, x, bias, channels, m, blocks, NUMBERS)
        return x, bias.sum(-1)
