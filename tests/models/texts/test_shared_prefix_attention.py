"""Attention over packed rows is plain attention within each side."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sympo.models.texts.packed_rows import PackedBatch, PackedRows
from sympo.models.texts.shared_prefix_attention import NAME, Grouped, attend, register
from tests.models.texts.made_rows import draw

HEADS, KEY_HEADS, SIZE = 4, 2, 8


@pytest.fixture(scope="module")
def packed() -> PackedBatch:
    return PackedRows(*draw(rows=6, longest=40, vocabulary=50)).pack(np.arange(6))


def projections(tokens: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(1, heads, tokens, SIZE) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def visible(packed: PackedBatch, window: int | None) -> Tensor:
    """(tokens, tokens), independent of the code under test: two tokens of a row attend to
    each other if no token of the other side lies between."""
    positions = packed.position_ids[0]
    row, side = torch.zeros_like(positions), torch.zeros_like(positions)
    at = 0
    for group in packed.groups:
        for length, shared, first in zip(group.lengths, group.shared, group.first, strict=True):
            place = torch.arange(int(length))
            end = at + int(length)
            row[at:end] = at
            side[at:end] = torch.where(place < shared, 0, torch.where(place < first, 1, 2))
            at = end
    own = row[:, None] == row
    reaches = (side == 0) | (side[:, None] == side)
    past = positions[:, None] - positions
    return own & reaches & (past >= 0) & (past < (window or 10**6))


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float) -> Tensor:
    k, v = (x.repeat_interleave(HEADS // KEY_HEADS, 1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) * scaling).masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 1, 5, 100])
@pytest.mark.parametrize("scaling", [SIZE**-0.5, 0.2])
def test_equals_plain_attention(packed: PackedBatch, window: int | None, scaling: float) -> None:
    inputs = projections(packed.input_ids.shape[1])
    found, _ = attend(
        torch.nn.Identity(), *inputs, None, scaling=scaling, sliding_window=window,
        shared_prefix=Grouped(packed),
    )  # fmt: skip
    expected = plain(*inputs, visible(packed, window), scaling)
    torch.testing.assert_close(found, expected)
    torch.manual_seed(1)
    direction = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
    )


def test_rows_of_several_lengths_are_padded(packed: PackedBatch) -> None:
    """So the tests above hold for padded groups too."""
    assert any(group.index is not None for group in packed.groups) and len(packed.groups) > 1


def test_masks_are_made_once(packed: PackedBatch) -> None:
    made = Grouped(packed)
    assert made.mask(3) is made.mask(3)
    assert made.mask(10**6) is made.mask(None)


@pytest.mark.parametrize(
    "kind",
    [{"softcap": 30.0}, {"dropout": 0.1}, {"s_aux": torch.zeros(1)}, {"position_bias": 0}],
    ids=lambda kind: next(iter(kind)),
)
def test_attention_of_another_kind_is_refused(packed: PackedBatch, kind: dict[str, Any]) -> None:
    inputs = projections(packed.input_ids.shape[1])
    with pytest.raises(NotImplementedError, match="Identity"):
        attend(torch.nn.Identity(), *inputs, None, shared_prefix=Grouped(packed), **kind)


def test_without_packed_rows_it_is_that_of_transformers() -> None:
    sdpa = pytest.importorskip("transformers.integrations.sdpa_attention")
    register()
    from transformers import AttentionInterface

    module: Any = SimpleNamespace(is_causal=True, training=False, num_key_value_groups=2)
    inputs = projections(9)
    found, _ = AttentionInterface()[NAME](module, *inputs, None, scaling=0.3)
    expected, _ = sdpa.sdpa_attention_forward(module, *inputs, None, scaling=0.3)
    assert torch.equal(found, expected)
