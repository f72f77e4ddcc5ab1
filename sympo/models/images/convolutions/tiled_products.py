"""Convolution, 2x2 max-pool and ReLU as matrix products over tiles, on any device.

Images are the last dimension, (cells, channels, height, width, images), so that every layer is one
matrix product and pooling compares contiguous vectors. A 2x2 max-pool after a kxk convolution reads
a (k+1)x(k+1) tile of the input for each output: tiles are copied once (for the first layer once for
all cells with the same images), and the four convolutions of a pool are one product with the kernel
at four offsets. On a GPU with Triton, copying tiles and pooling run in `triton_kernels`.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def features(
    images: Tensor,
    cells_per_seed: Sequence[int],
    one: tuple[Tensor, Tensor],
    two: tuple[Tensor, Tensor],
    padding: int,
) -> Tensor:
    """Features (C, features, n) of images (S, n, H, W), a batch for each seed.

    one, two: weight and bias of both layers, stacked over cells.
    """
    seeds, n = images.shape[:2]
    # images last in memory too: tiles are then copied in whole rows, six times as fast
    x = images.flatten(2).transpose(1, 2).contiguous().view(seeds, 1, *images.shape[2:], n)
    weight, bias = one
    k = weight.shape[-1]
    x = _pad(x, padding)
    # the tiles of a seed's images serve all of its cells in one product
    weight, copies = _tiled(weight), _tiles(x, k)
    if len(set(cells_per_seed)) == 1:
        out = product(weight.view(seeds, -1, weight.shape[-1]), copies)
    else:
        products = [
            kernel.flatten(0, 1) @ x
            for kernel, x in zip(torch.split(weight, list(cells_per_seed)), copies, strict=True)
        ]
        out = torch.cat(products)
    out = out.view(*weight.shape[:2], -1)
    x = _pad(_pool(out, bias, x.shape, k), padding)
    weight, bias = two
    out = product(_tiled(weight), _tiles(x, k))
    return _pool(out, bias, x.shape, k).flatten(1, -2)


def product(weight: Tensor, x: Tensor) -> Tensor:
    """(C, out, in) @ (C, in, n); a plain product is faster than a batch of one on CPU."""
    if len(weight) > 1:
        return torch.bmm(weight, x)
    # squeezed, not indexed: the gradient of an index fills and copies the whole tensor
    return (weight.squeeze(0) @ x.squeeze(0)).unsqueeze(0)


def _pad(x: Tensor, padding: int) -> Tensor:
    return F.pad(x, (0, 0) + (padding,) * 4) if padding else x


def _pool(out: Tensor, bias: Tensor, shape: torch.Size, kernel_size: int) -> Tensor:
    height, width = ((side - kernel_size + 1) // 2 for side in shape[2:4])
    cells, channels = bias.shape
    out = out.view(cells, 4, channels, -1)
    pooled: Tensor
    if fused := kernels(out.device):
        pooled = fused.PoolReLU.apply(out, bias)
    elif torch.is_grad_enabled():
        pooled = _PoolReLU.apply(out, bias)
    else:
        pooled = F.relu(out.amax(1) + bias.unsqueeze(-1))
    return pooled.view(cells, channels, height, width, shape[-1])


@cache
def kernels(device: torch.device) -> ModuleType | None:
    """The Triton kernels; None on CPU and if Triton does not work here."""
    if device.type != "cuda":
        return None
    try:
        from sympo.models.images.convolutions import triton_kernels

        triton_kernels.Tiles.apply(torch.zeros(1, 1, 2, 2, 1, device=device), 2)
    except Exception:  # no Triton, or no C compiler, which it needs, too
        return None
    return triton_kernels


def _tiled(kernel: Tensor) -> Tensor:
    """(C, out, channels, k, k) -> (C, 4 * out, channels * (k+1)^2)."""
    tiled: Tensor = _Tiled.apply(kernel)
    return tiled.flatten(1, 3).flatten(2)


class _Tiled(torch.autograd.Function):
    """A kernel at the four offsets in a tile; (C, out, channels, k, k) -> (C, 2, 2, out, channels,
    k+1, k+1). The gradient adds them up. On a GPU, 5 launches instead of some 20 with `F.pad`."""

    @staticmethod
    def forward(ctx: Any, kernel: Tensor) -> Tensor:
        cells, out, channels, side, _ = kernel.shape
        tiled = kernel.new_zeros(cells, 2, 2, out, channels, side + 1, side + 1)
        _offsets(tiled).copy_(kernel[:, None, None])
        return tiled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        above, below = _offsets(grads[0].contiguous()).unbind(1)
        return below[:, 1] + below[:, 0] + above[:, 1] + above[:, 0]


def _offsets(tiled: Tensor) -> Tensor:
    """The places of a kernel at each of its offsets, as a view; (C, 2, 2, out, channels, k, k)."""
    cells, below, right, out, channels, y, x = tiled.stride()
    return tiled.as_strided(
        (*tiled.shape[:5], tiled.shape[5] - 1, tiled.shape[6] - 1),
        (cells, below + y, right + x, out, channels, y, x),
    )


def _tiles(x: Tensor, kernel_size: int) -> Tensor:
    """(C, channels, H, W, n) -> (C, channels * (k+1)^2, pools * n), a tile for every pool."""
    fused = kernels(x.device)
    tiles: Tensor = (fused.Tiles if fused else _Tiles).apply(x, kernel_size + 1)
    return tiles.flatten(1, 3).flatten(2)


class _Tiles(torch.autograd.Function):
    """Overlapping tiles of even width at stride 2; the gradient adds up the overlaps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.side, ctx.shape = side, x.shape
        return x.unfold(2, side, 2).unfold(3, side, 2).permute(0, 1, 5, 6, 2, 3, 4).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        blocks, (height, width) = ctx.side // 2, grad.shape[4:6]
        # neighbouring tiles overlap in whole 2x2 blocks: add those, not single pixels
        grad = torch.unflatten(torch.unflatten(grad, 3, (blocks, 2)), 2, (blocks, 2))
        out = grad.new_zeros(ctx.shape)
        view = torch.unflatten(torch.unflatten(out, 3, (-1, 2)), 2, (-1, 2))
        for row in range(blocks):
            for column in range(blocks):
                # (C, channels, 2, 2, height, width, n) -> (C, channels, height, 2, width, 2, n)
                part = grad[:, :, row, :, column].permute(0, 1, 4, 2, 5, 3, 6)
                view[:, :, row : row + height, :, column : column + width] += part
        return out, None


class _PoolReLU(torch.autograd.Function):
    """relu(max over the four convolutions of a pool + bias); (C, 4, c, m), (C, c) -> (C, c, m).

    The winner of each pool is kept as two bits, its row and its column, and receives the gradient.
    Written to vectorise: no `where` on bytes, no product of a float with a bool.
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
