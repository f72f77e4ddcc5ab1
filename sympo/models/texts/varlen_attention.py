"""Packed rows as sequences of a variable-length attention call, and torch's operators for it.

A packed row is [prefix, rest of the first side, rest of the second]. Its queries are two sequences
that lie one after the other: prefix with the first rest, and the second rest. The first attends to
itself, the second to prefix and second rest, which are selected by index. A causal mask aligned at
the bottom right lets the last query of a sequence attend to all of its keys, so it needs no other
mask, and no padding.
"""

from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.packed_rows import PackedBatch, send

PRECISIONS = (torch.float16, torch.bfloat16)


class Operator(Protocol):
    """Attention within sequences of a packed batch, causal from the bottom right.

    query: (queries, heads, size); key, value: (keys, key heads, size); cum_seq_q, cum_seq_k:
    (sequences + 1,) int32, where each sequence begins; max_q, max_k: their longest. scale: of the
    scores, None for 1 / sqrt(size). window_size: keys before a query's own position, -1 for all,
    and after it, 0. Returns (queries, heads, size).
    """

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cum_seq_q: Tensor,
        cum_seq_k: Tensor,
        max_q: int,
        max_k: int,
        /,
        *,
        scale: float | None,
        window_size: tuple[int, int],
    ) -> Tensor: ...


@dataclass(frozen=True)
class Sequences:
    """The sequences of a packed batch, as an `Operator` takes them.

    keys: (keys,) the token of the batch at each place of the keys; None if these are the tokens in
        their order.
    """

    cum_seq_q: Tensor
    cum_seq_k: Tensor
    max_q: int
    max_k: int
    keys: Tensor | None

    @classmethod
    def of(cls, packed: PackedBatch) -> "Sequences":
        """Of a packed batch, on its device, without waiting for it."""
        lengths, shared, first = packed.lengths, packed.shared, packed.first
        rest = lengths - first
        # row by row, the first side and the second; kernels need no sequences without queries
        queries = np.stack([first, rest], 1).ravel()
        own = np.stack([first, shared + rest], 1).ravel()
        kept = queries > 0
        queries, own = queries[kept], own[kept]
        tensor = partial(send, packed.input_ids.device)
        cum_seq_q = tensor(_begin(queries), dtype=torch.int32)
        if not rest.any():
            return cls(cum_seq_q, cum_seq_q, int(queries.max()), int(queries.max()), None)
        starts = np.cumsum(lengths) - lengths
        # a second side skips the rest of the first one after so many keys
        skipped_after = np.stack([first, shared], 1).ravel()[kept]
        skipped = np.stack([0 * first, first - shared], 1).ravel()[kept]
        sequence = np.repeat(np.arange(len(own)), own)
        place = np.arange(len(sequence)) - (np.cumsum(own) - own)[sequence]
        keys = np.repeat(starts, 2)[kept][sequence] + place
        keys += np.where(place >= skipped_after[sequence], skipped[sequence], 0)
        return cls(
            cum_seq_q=cum_seq_q,
            cum_seq_k=tensor(_begin(own), dtype=torch.int32),
            max_q=int(queries.max()),
            max_k=int(own.max()),
            keys=tensor(keys),
        )

    def attend(
        self,
        operator: Operator,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float | None,
        window_size: tuple[int, int],
    ) -> Tensor:
        """query (tokens, heads, size), key and value (tokens, key heads, size) -> (tokens, heads,
        size)."""
        if self.keys is not None:
            key, value = key.index_select(0, self.keys), value.index_select(0, self.keys)
        return operator(
            query, key, value, self.cum_seq_q, self.cum_seq_k, self.max_q, self.max_k,
            scale=scale, window_size=window_size,
        )  # fmt: skip


def supports(device: torch.device, dtype: torch.dtype | None) -> bool:
    """Whether operators exist for matrix products of this precision on this device."""
    return device.type == "cuda" and dtype in PRECISIONS


def operators() -> list[Operator]:
    """The operators that the installed torch has, best first."""
    found: list[Operator] = []
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        pass
    else:
        public: Any = varlen_attn
        settings = signature(public).parameters
        if {"scale", "window_size"} <= settings.keys():
            # without this setting, heads may differ anyway
            grouped = {"enable_gqa": True} if "enable_gqa" in settings else {}
            found.append(partial(public, **grouped))
    try:
        torch.ops.aten._flash_attention_forward  # noqa: B018, operators are looked up by name
    except AttributeError:
        return found
    return [*found, flash_attention]


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cum_seq_q: Tensor,
    cum_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
) -> Tensor:
    """torch's own FlashAttention, an `Operator`; it has a derivative."""
    left, right = window_size
    found: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, 0.0, (left, right) == (-1, 0), False,
        scale=scale, window_size_left=left, window_size_right=right,
    )[0]  # fmt: skip
    return found


def _begin(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(np.concatenate([[0], lengths]))
