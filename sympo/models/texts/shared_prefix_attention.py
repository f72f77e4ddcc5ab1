"""Attention over packed rows with shared prefixes, for any model with `transformers`' interface.

Each row of a packed batch attends only to itself: in one call per group of rows of similar length,
so that no mask is larger than a row; or by FlexAttention, in one call with a block mask (CUDA
only). Without packed rows, in generation or on padded batches, this is `transformers`' own SDPA.
"""

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sympo.models.texts.packed_rows import Group, PackedBatch

NAME = "shared_prefix"
# arguments of other attention functions that would change the result
_NOT_HERE = ("s_aux", "position_bias", "head_mask")
_BLOCK = 128  # FlexAttention's own


class Layout(ABC):
    """Which token attends to which in a packed batch; masks are built once for all layers."""

    def __init__(self, packed: PackedBatch) -> None:
        self.packed = packed
        self._masks: dict[int | None, Any] = {}

    def mask(self, window: int | None) -> Any:
        """The mask of a layer, with a sliding window if it is shorter than a row."""
        if window is not None and all(window >= group.longest for group in self.packed.groups):
            window = None
        if window not in self._masks:
            self._masks[window] = self._mask(window)
        return self._masks[window]

    @abstractmethod
    def _mask(self, window: int | None) -> Any: ...

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Any
    ) -> Tensor:
        """query (1, heads, tokens, size), key and value (1, key heads, tokens, size) -> (1, tokens,
        heads, size)."""


class Grouped(Layout):
    """Rows of similar length in one padded call."""

    def _mask(self, window: int | None) -> list[Tensor]:
        return [group.mask(window) for group in self.packed.groups]

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: list[Tensor]
    ) -> Tensor:
        # (tokens, heads, size), row after row
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        parts = []
        for group, seen in zip(self.packed.groups, mask, strict=True):
            q, k, v = (_grid(x, group) for x in (query, key, value))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling)
            out = out.transpose(1, 2).flatten(0, 1)
            parts.append(out if group.real is None else out.index_select(0, group.real))
        return torch.cat(parts)[None]


class Flex(Layout):
    """All rows in one call of FlexAttention, which skips fully masked blocks."""

    def _mask(self, window: int | None) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        position = self.packed.position_ids[0]
        row, side = self._rows_and_sides()

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            own = (row[query] == row[key]) & (query >= key)
            own = own & ((side[key] == 0) | (side[key] == side[query]))
            return own if window is None else own & (position[query] - position[key] < window)

        tokens, device = len(position), position.device
        return create_block_mask(
            seen, None, None, tokens, tokens, device=device, BLOCK_SIZE=_BLOCK,
            _compile=device.type == "cuda",
        )  # fmt: skip

    def _rows_and_sides(self) -> tuple[Tensor, Tensor]:
        """Of each token: its row, and 0 in the shared prefix, 1 or 2 in the rest of a side."""
        lengths, shared, first = (
            torch.cat(parts)
            for parts in zip(
                *((group.lengths, group.shared, group.first) for group in self.packed.groups),
                strict=True,
            )
        )
        row = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        place = torch.arange(len(row), device=row.device) - (lengths.cumsum(0) - lengths)[row]
        return row, (place >= shared[row]).long() + (place >= first[row]).long()

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Any
    ) -> Tensor:
        out: Tensor = _flex_attention(query.device.type)(
            query, key, value, block_mask=mask, scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        return out.transpose(1, 2)


LAYOUTS: dict[str, type[Layout]] = {"grouped": Grouped, "flex": Flex}


@cache
def _flex_attention(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # fast only if compiled; on CPU it has a forward pass only, for tests
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


def register(compiled: bool = False) -> None:
    """Register the attention with `transformers` under `NAME`; compiled: exclude it from the
    compilation of the layers, since its groups differ from batch to batch."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    function = torch.compiler.disable(attend) if compiled else attend  # type: ignore[no-untyped-call]
    AttentionInterface.register(NAME, function)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    shared_prefix: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as `transformers` calls it: query (1, heads, tokens, size), key and value
    (1, key heads, tokens, size) -> (1, tokens, heads, size).

    shared_prefix: the layout of the packed rows. Raises NotImplementedError on other variants of
    attention, so that their models fall back to separate rows.
    """
    if shared_prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, softcap=softcap, **kwargs
        )
    if softcap is not None or dropout or any(kwargs.get(name) is not None for name in _NOT_HERE):
        raise NotImplementedError(f"{type(module).__name__} uses an unsupported attention")
    mask = shared_prefix.mask(sliding_window)
    return shared_prefix.attend(query, key, value, scaling, mask), None


def _grid(x: Tensor, group: Group) -> Tensor:
    """The tokens of a group as (rows, heads, longest, size)."""
    rows = len(group.lengths)
    if group.index is None:
        own = x[group.start : group.start + rows * group.longest]
    else:
        own = x.index_select(0, group.index)
    return own.view(rows, group.longest, *x.shape[1:]).transpose(1, 2)
