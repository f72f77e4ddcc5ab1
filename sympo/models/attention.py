"""Attention over packed rows with shared prefixes, for any model of `transformers`' interface.

Each row of a packed batch attends to itself alone, in one call per group of rows of similar length,
so no mask is larger than a row. Where a model is called without packed rows, in generation or on
padded batches, this is `transformers`' own SDPA.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sympo.models.rows import Group, Packed

NAME = "shared_prefix"
# arguments of other attention functions that change what is computed
_NOT_HERE = ("s_aux", "position_bias", "head_mask")


class Layout:
    """The groups of one packed batch, and their masks, made once for all layers."""

    def __init__(self, packed: Packed) -> None:
        self.groups = packed.groups
        self._masks: dict[int | None, list[Tensor]] = {}

    def masks(self, window: int | None) -> list[Tensor]:
        if window is not None and all(window >= group.longest for group in self.groups):
            window = None
        if window not in self._masks:
            self._masks[window] = [group.mask(window) for group in self.groups]
        return self._masks[window]


def register() -> None:
    """Make the attention known to `transformers` under `NAME`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
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

    shared_prefix: the layout of the packed rows. Raises NotImplementedError on variants of
    attention that are not here, so that their models fall back to rows of their own.
    """
    if shared_prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, softcap=softcap, **kwargs
        )
    if softcap is not None or dropout or any(kwargs.get(name) is not None for name in _NOT_HERE):
        raise NotImplementedError(f"{type(module).__name__} attends in a way that is not here")
    # (tokens, heads, size), in which the rows stand one after the other
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    masks = shared_prefix.masks(sliding_window)
    parts = []
    for group, mask in zip(shared_prefix.groups, masks, strict=True):
        q, k, v = (_grid(x, group) for x in (query, key, value))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        out = out.transpose(1, 2).flatten(0, 1)
        parts.append(out if group.real is None else out.index_select(0, group.real))
    return torch.cat(parts)[None], None


def _grid(x: Tensor, group: Group) -> Tensor:
    """The tokens of a group as (rows, heads, longest, size)."""
    rows = len(group.lengths)
    if group.index is None:
        own = x[group.start : group.start + rows * group.longest]
    else:
        own = x.index_select(0, group.index)
    return own.view(rows, group.longest, *x.shape[1:]).transpose(1, 2)
