"""Attention over packed rows with shared prefixes, for any model with `transformers`' interface.

Each row of a packed batch attends only to itself: in one call per group of rows of similar length,
so that no mask is larger than a row; or, in half precision on CUDA, in one variable-length call
without masks. Without packed rows, in generation or on padded batches, this is `transformers`' own
SDPA.
"""

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sympo.models.texts.cudnn_attention import without_cudnn_attention
from sympo.models.texts.packed_rows import Group, PackedBatch
from sympo.models.texts.varlen_attention import Operator, Sequences

NAME = "shared_prefix"
# arguments of other attention functions that would change the result
_NOT_HERE = ("s_aux", "position_bias", "head_mask")
# ways of packed rows to attend: auto is variable-length where possible, and grouped elsewhere
ATTENTION = ("auto", "grouped")


class Layout(ABC):
    """Which token attends to which in a packed batch; its parts are made once for all layers."""

    def __init__(self, packed: PackedBatch) -> None:
        self.packed = packed
        self._masks: dict[int | None, Any] = {}

    def mask(self, window: int | None) -> Any:
        """The mask of a layer, with a sliding window if it is shorter than a row."""
        if window is not None and window >= self.packed.lengths.max():
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


# keys before a query's own position, -1 for all, and after it
Window = tuple[int, int]


class VariableLength(Layout):
    """All rows in one call, in half precision on CUDA.

    checked: whether to raise ArithmeticError if the operator, or its derivative, differs from
        grouped attention in float32 by more than rounding.
    """

    def __init__(self, packed: PackedBatch, operator: Operator, checked: bool = False) -> None:
        super().__init__(packed)
        self.operator, self.checked = operator, checked
        self.sequences = Sequences.of(packed)

    def _mask(self, window: int | None) -> Window:
        return (-1 if window is None else window - 1), 0

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Window
    ) -> Tensor:
        # the operators are not on autocast's lists
        kind, dtype = query.device.type, query.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        query, key, value = (x.to(dtype) for x in (query, key, value))
        if self.checked:
            self._check(query, key, value, scaling, mask)
        return self._call(query, key, value, scaling, mask)

    def _call(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Window
    ) -> Tensor:
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        return self.sequences.attend(self.operator, query, key, value, scaling, mask)[None]

    def _check(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, mask: Window
    ) -> None:
        kind, grouped, left = query.device.type, Grouped(self.packed), mask[0]
        seen = grouped.mask(None if left < 0 else left + 1)
        with torch.enable_grad(), torch.autocast(kind, enabled=False):
            inputs = [x.detach().requires_grad_() for x in (query, key, value)]
            found = self._call(inputs[0], inputs[1], inputs[2], scaling, mask)
            *_, gradient = torch.autograd.grad(found, inputs, torch.ones_like(found))
            q, k, v = (x.detach().float() for x in inputs)
            size = grouped.attend(q, k, v.abs(), scaling, seen)
            exact = grouped.attend(q, k, v.requires_grad_(), scaling, seen)
            (exact_gradient,) = torch.autograd.grad(exact, v, torch.ones_like(exact))
        # weights p_j and outputs are rounded
        _agree("an output", found, exact, size, roundings=2)
        # weights, a head's gradient, and sums over heads and over the copies of a prefix are; with
        # a direction of ones all terms are positive
        _agree("a gradient", gradient, exact_gradient, exact_gradient, roundings=4)


def _agree(what: str, found: Tensor, exact: Tensor, size: Tensor, roundings: int) -> None:
    error = (found.detach().float() - exact.detach()).abs()
    if not bool((error <= rounding(found.dtype, size, roundings)).all()):
        raise ArithmeticError(
            f"{what} is off by {float(error.max()):.2g}, more than {found.dtype} rounds"
        )


def rounding(dtype: torch.dtype, size: Tensor, roundings: int) -> Tensor:
    """A bound on the error of sums whose terms pass so many roundings to this precision.

    size: the sums of the terms' absolute values, such as sum_j p_j |v_j| in attention. A rounding
    costs at most u = eps / 2 of it; as much again is left for sums and exponentials in float32.
    """
    kind = torch.finfo(dtype)
    return roundings * kind.eps * size + kind.tiny


def register(compiled: bool = False) -> None:
    """Register the attention with `transformers` under `NAME`; compiled: exclude it from the
    compilation of the layers from now on, since its groups differ from batch to batch."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    # importing the compiler takes a second
    excluded = compiled or _not_compiled.cache_info().currsize
    function = _not_compiled() if excluded else attend
    AttentionInterface.register(NAME, function)
    AttentionMaskInterface.register(NAME, sdpa_mask)


@cache
def _not_compiled() -> Any:
    return torch.compiler.disable(attend)  # type: ignore[no-untyped-call]


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

        with without_cudnn_attention():
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, softcap=softcap,
                **kwargs,
            )  # fmt: skip
    if softcap is not None or dropout or any(kwargs.get(name) is not None for name in _NOT_HERE):
        raise NotImplementedError(f"{type(module).__name__} uses an unsupported attention")
    mask = shared_prefix.mask(sliding_window)
    with without_cudnn_attention():
        return shared_prefix.attend(query, key, value, scaling, mask), None


def _grid(x: Tensor, group: Group) -> Tensor:
    """The tokens of a group as (rows, heads, longest, size)."""
    rows = len(group.lengths)
    if group.index is None:
        own = x[group.start : group.start + rows * group.longest]
    else:
        own = x.index_select(0, group.index)
    return own.view(rows, group.longest, *x.shape[1:]).transpose(1, 2)
