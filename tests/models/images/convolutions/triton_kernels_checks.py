"""The kernels for a GPU give what plain operators give: on the GPU, or interpreted on the CPU.

test_triton_kernels.py runs this interpreted, in a separate process, since Triton interprets
everything or nothing; on a GPU it runs compiled.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sympo.models.images.convolutions import tiled_products as tiles
from sympo.models.images.convolutions import triton_kernels as kernels

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") else "cuda"


def gradients(function: Callable[..., Any], *inputs: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=DEVICE).view_as(out)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)]


@pytest.mark.parametrize(("side", "height", "width", "n"), [(6, 12, 14, 300), (4, 8, 8, 17)])
def test_tiles(side: int, height: int, width: int, n: int) -> None:
    x = torch.randn(2, 3, height, width, n, dtype=torch.float64, device=DEVICE)
    for found, expected in zip(
        gradients(lambda x: kernels.Tiles.apply(x, side), x),
        gradients(lambda x: tiles._Tiles.apply(x, side), x),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("m", [7, 1024, 2500])
def test_pool(m: int) -> None:
    # whole numbers, so that many are equal: the first of them wins
    x = torch.randint(-3, 4, (2, 4, 3, m), device=DEVICE).double()
    bias = torch.tensor([[0.0, 0.5, -1.0], [-3.0, 3.0, 0.0]], device=DEVICE).double()
    for found, expected in zip(
        gradients(kernels.PoolReLU.apply, x, bias),
        gradients(tiles._PoolReLU.apply, x, bias),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_what_is_no_number_stays_so() -> None:
    for place in range(4):
        x = torch.ones(1, 4, 1, 3, device=DEVICE)
        x[0, place, 0, 1] = torch.nan
        out = kernels.PoolReLU.apply(x, torch.zeros(1, 1, device=DEVICE))
        assert out.isnan().tolist() == [[[False, True, False]]]


def test_a_network_is_the_same_with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 20, 8, 8, dtype=torch.float64, device=DEVICE)
    shapes = [(3, 2, 1, 3, 3), (3, 2), (3, 4, 2, 3, 3), (3, 4)]
    parameters = [torch.randn(shape, dtype=torch.float64, device=DEVICE) for shape in shapes]

    def features(*parameters: Tensor) -> Tensor:
        one, two = parameters[:2], parameters[2:]
        return tiles.features(images, (2, 1), one, two, padding=1)  # type: ignore[arg-type]

    both = []
    for module in (None, kernels):
        monkeypatch.setattr(tiles, "kernels", lambda device, module=module: module)
        both.append(gradients(features, *parameters))
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other)
