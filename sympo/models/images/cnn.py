"""Reward models of images: the paper's convolutional network, many cells side by side.

Convolutions are compiled C++ on CPU (`convolutions.cpp_layers`) and matrix products elsewhere
(`convolutions.tiled_products`). Images are the last dimension, (cells, features, images), so that
dense layers are matrix products.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sympo import ranges, seeding
from sympo.models.images.convolutions import tiled_products
from sympo.models.images.convolutions.cpp_layers import Convolutions, Network, convolutions
from sympo.protocols.models import Reads
from sympo.ranges import Dropout, Positive, Range, Width
from sympo.types import BadArgument

# images for which dropout in evaluation draws together
EVALUATION_BLOCK = 1024


@dataclass(frozen=True)
class CNN:
    """conv, pool, conv, pool, then three dense layers with batch norm and dropout.

    Every conv is followed by a 2x2 max-pool and ReLU, the dense layers before the last by batch
    norm and ReLU; each dense layer is preceded by dropout. The defaults are the paper's network.
    Source: arXiv 2505.24709, MNIST preference (kernel 5, channels 6 and 16, hidden 64).

    padding: zero pixels added on each side before each convolution.
    initial_scale: factor of the last layer's initial weights, and so of the first rewards.
    reward_scale: factor of the rewards, and so of every margin, from the first step to the last.
    clamp: rewards are clamped to +-clamp, as the authors' code does at 20, which makes ties of
        large rewards; None for no clamp.
    dropout_at_evaluation: whether units are dropped in evaluation too, as in the authors' code.
    BadArgument if a setting is out of range.
    """

    identity: ClassVar[str] = "cnn"
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[Reads] = "images"
    answers: ClassVar[bool] = False

    channels: tuple[Width, Width] = (6, 16)
    kernel_size: Annotated[int, Range(least=1, most=1023)] = 5
    padding: Annotated[int, Range(least=0, most=1024)] = 0
    hidden: Width = 64
    dropout: Dropout = 0.2
    initial_scale: Positive = 1.0
    reward_scale: Positive = 1.0
    clamp: Positive | None = None
    dropout_at_evaluation: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        ranges.check(self)
        if len(self.channels) != 2:
            raise BadArgument("channels", list(self.channels), "must be two numbers above 0")
        if self.kernel_size % 2 == 0:
            raise BadArgument("kernel_size", self.kernel_size, "must be an odd number above 0")

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise BadArgument if images of this height and width do not fit."""
        self.pooled_sizes(image_size)

    def pooled_sizes(self, image_size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width after each pool; BadArgument if the image does not fit."""
        sizes, size = [], image_size
        for _ in self.channels:
            out = [side + 2 * self.padding - self.kernel_size + 1 for side in size]
            if min(out) < 2 or any(side % 2 for side in out):
                raise BadArgument(
                    "kernel_size",
                    self.kernel_size,
                    f"with padding={self.padding} does not fit images of {image_size[0]}x"
                    f"{image_size[1]}: it makes {out[0]}x{out[1]}, and the pool needs even sides; "
                    "use another model",
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

    The cells of one seed are adjacent. Given images (S, N, H, W), one batch per seed, it returns
    rewards (C, N). Dropout masks are drawn per seed and pass, and shared by the seed's cells.

    passes: how many batches it was trained on, part of its state. scored: how many it has scored
    since `eval`, which with `passes` names the masks of dropout in evaluation. advice: how to
    speed it up.
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
        self.config, self.size = config, image_size
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
            # the first two dense layers are followed by batch norm, which has a bias
            if name not in ("dense1", "dense2"):
                self.register_parameter(
                    f"{name}_bias", self._initial(name, "bias", (shape[0],), fan_in)
                )
        cells = len(self.seed_of_cell)
        for name in ("norm1", "norm2"):
            shape = (cells, config.hidden)
            self.register_parameter(f"{name}_weight", nn.Parameter(torch.ones(shape)))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(shape)))
            self.register_buffer(f"{name}_mean", torch.zeros(shape))
            self.register_buffer(f"{name}_var", torch.ones(shape))
        self.passes = self.scored = 0

    def _initial(self, layer: str, kind: str, shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
        # PyTorch's default for convolutions and dense layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in))
        bound = 1 / math.sqrt(fan_in)
        if layer == "dense3":
            bound *= self.config.initial_scale
        draws = [
            seeding.generator(seed, "init", layer, kind).uniform(-bound, bound, shape)
            for seed in self.seeds
        ]
        stacked = torch.from_numpy(np.stack(draws)).to(torch.get_default_dtype())
        return nn.Parameter(stacked[self.seed_of_cell])

    def compiled(self, images: Tensor) -> Convolutions | None:
        """The compiled convolutions for these images; None if `tiled_products` runs them."""
        if images.device.type != "cpu":
            return None
        config = self.config
        return convolutions(
            Network(self.size, config.channels, config.kernel_size, config.padding, images.dtype)
        )

    @property
    def advice(self) -> str:
        """How the user can speed up training here; empty if there is nothing to do."""
        device = self.seed_of_cell.device
        if device.type == "cuda" and not tiled_products.kernels(device):
            return "Triton does not work here: with it, training moves half the bytes"
        if device.type != "cpu" or self.compiled(self._p("conv1_weight")):
            return ""
        return "no C++ compiler works here: with one, training takes a third of the time"

    def forward(self, images: Tensor, drawn: Tensor | None = None) -> Tensor:
        one, two = ((self._p(f"conv{i}_weight"), self._p(f"conv{i}_bias")) for i in (1, 2))
        mask, *masks = self._masks(images, drawn)
        if layers := self.compiled(images):
            x = layers(images, self.cells_per_seed, one, two, mask)
        else:
            x = tiled_products.features(images, self.cells_per_seed, one, two, self.config.padding)
            x = self._drop(x, mask)
        for layer, mask in zip(("1", "2"), masks, strict=True):
            x = self._norm(
                f"norm{layer}", tiled_products.product(self._p(f"dense{layer}_weight"), x)
            )
            x = self._drop(F.relu(x), mask)
        x = tiled_products.product(self._p("dense3_weight"), x) + self._p("dense3_bias").unsqueeze(
            -1
        )
        x = x.squeeze(1)
        if self.config.reward_scale != 1:
            x = x * self.config.reward_scale
        return x if self.config.clamp is None else x.clamp(-self.config.clamp, self.config.clamp)

    def _p(self, name: str) -> Tensor:
        found: Tensor = getattr(self, name)
        return found

    def _norm(self, name: str, x: Tensor) -> Tensor:
        cells, width, n = x.shape
        mean, var, weight, bias = (
            self._p(f"{name}_{kind}").flatten() for kind in ("mean", "var", "weight", "bias")
        )
        x = x.reshape(1, cells * width, n)
        out = F.batch_norm(x, mean, var, weight, bias, training=self.training)
        return out.view(cells, width, n)

    @property
    def _widths(self) -> tuple[int, int, int]:
        """Of the layers that dropout precedes."""
        return self._p("dense1_weight").shape[-1], self.config.hidden, self.config.hidden

    def draw(self, images: int) -> Tensor:
        """The random bits of the next training pass over this many images of each seed, (S, words)
        int64: a row for each seed, a part for each layer with dropout."""
        if self.config.dropout == 0:
            device = self.seed_of_cell.device
            return torch.empty(len(self.seeds), 0, dtype=torch.int64, device=device)
        self.passes += 1
        return self._bits(images, "dropout", str(self.passes))

    def _bits(self, images: int, *key: str) -> Tensor:
        device = self.seed_of_cell.device
        words = sum(_words(width * images) for width in self._widths)
        drawn = torch.empty(len(self.seeds), words, dtype=torch.int64, device=device)
        for seed, row in zip(self.seeds, drawn, strict=True):
            generator = torch.Generator(device).manual_seed(seeding.derive(seed, *key))
            row.random_(-(2**63), None, generator=generator)
        return drawn

    def _masks(self, images: Tensor, drawn: Tensor | None) -> Sequence[Tensor | None]:
        """The factors of dropout for each layer, (S, width, n); None without dropout."""
        rate, n = self.config.dropout, images.shape[1]
        if rate == 0 or not (self.training or self.config.dropout_at_evaluation):
            return [None] * len(self._widths)
        if self.training:
            return self._factors(self.draw(n) if drawn is None else drawn, n, images.dtype)
        # drawn for whole blocks, so that a cell's masks do not depend on how its batch is padded
        block = -(-n // EVALUATION_BLOCK) * EVALUATION_BLOCK
        self.scored += 1
        key = ("dropout at evaluation", str(self.passes), str(self.scored))
        masks = self._factors(self._bits(block, *key), block, images.dtype)
        return [mask[..., :n].contiguous() for mask in masks]

    def _factors(self, drawn: Tensor, n: int, dtype: torch.dtype) -> Sequence[Tensor]:
        rate = self.config.dropout
        factors = _kept(drawn, rate).to(dtype).div_(1 - rate)
        parts = torch.split(factors, [4 * _words(width * n) for width in self._widths], 1)
        return [
            part[:, : width * n].view(len(part), width, n)
            for part, width in zip(parts, self._widths, strict=True)
        ]

    def train(self, mode: bool = True) -> "StackedCNN":
        """Switch between training and evaluation, each of which starts with the same masks."""
        self.scored = 0
        super().train(mode)
        return self

    def get_extra_state(self) -> dict[str, int]:
        return {"passes": self.passes}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.passes = state["passes"]

    def _drop(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return x
        return x * (mask if len(mask) == 1 else mask[self.seed_of_cell])


def _repeat(seeds: int, cells_per_seed: Sequence[int]) -> Tensor:
    return torch.arange(seeds).repeat_interleave(torch.tensor(cells_per_seed))


def _words(units: int) -> int:
    """64-bit draws for this many units: each gives four 16-bit numbers, because a float for each
    unit takes three times as long."""
    return -(-units // 4)


def _kept(drawn: Tensor, rate: float) -> Tensor:
    """Which units dropout keeps, each with probability 1 - rate, to 2^-17; (S, words) ->
    (S, 4 * words)."""
    return drawn.view(torch.int16) >= round(rate * 2**16) - 2**15
