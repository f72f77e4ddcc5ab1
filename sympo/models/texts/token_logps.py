"""Log-probabilities of given tokens from hidden states, without a tensor of tokens x vocabulary."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# logits in memory at a time: 16 Mi, 64 MB in float32; more on a GPU, because every chunk reads the
# weight and updates its gradient, which a few tokens do not amortise
CHUNK_ELEMENTS, CHUNK_ELEMENTS_ON_GPU = 1 << 24, 1 << 27


def chunk(vocabulary: int, device: torch.device) -> int:
    """Tokens per chunk of logits."""
    elements = CHUNK_ELEMENTS_ON_GPU if device.type == "cuda" else CHUNK_ELEMENTS
    return max(1, elements // vocabulary)


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    original: Tensor | None = None,
) -> Tensor:
    """log softmax(W h + b)[target] of every hidden state, in float32 or better.

    hidden: (n, size); weight: (vocabulary, size); bias: (vocabulary,) or None; target: (n,) int64.
    Logits are computed in chunks and recomputed in the backward pass, which accumulates the
    gradients chunk by chunk; with a frozen weight the backward pass needs no logits.

    original: the float32 leaf that `weight` is a copy of. The weight's gradient is then added to
    its `.grad` in place, chunk by chunk and without rounding, and `weight` gets none.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    logps: Tensor = _TokenLogps.apply(hidden, weight, bias, target, original)
    return logps


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        original: Tensor | None,
    ) -> Tensor:
        ctx.original = original
        ctx.frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        wide = torch.promote_types(hidden.dtype, torch.float32)
        found = hidden.new_empty(len(hidden), dtype=wide)
        direction = torch.empty_like(hidden) if ctx.frozen and ctx.needs_input_grad[0] else None
        for part, logits in _chunks(hidden, weight, bias):
            logps = torch.log_softmax(logits, -1, out=logits)
            found[part] = logps.gather(1, target[part, None])[:, 0]
            if direction is not None:  # d log p / d h = W[target] - p W
                torch.mm(logps.exp_().to(weight.dtype), weight, out=direction[part])
                direction[part] = weight[target[part]] - direction[part]
        if direction is not None:
            ctx.save_for_backward(direction)
        else:
            ctx.save_for_backward(hidden, weight, bias, target)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        if ctx.frozen:
            (direction,) = ctx.saved_tensors
            return direction * grad[:, None].to(direction.dtype), None, None, None, None
        hidden, weight, bias, target = ctx.saved_tensors
        to_hidden = torch.empty_like(hidden)
        to_weight = _accumulator(weight, grad.dtype, ctx.original)
        to_bias = None if bias is None else torch.zeros_like(bias, dtype=grad.dtype)
        for part, logits in _chunks(hidden, weight, bias):
            # with e = p - onehot(target): dh = -g e W, dW = e^T (-g h); scaling the hidden states
            # by -g is cheaper than scaling e, which is as wide as the vocabulary
            error = torch.softmax(logits, -1, out=logits)
            error[torch.arange(len(error), device=error.device), target[part]] -= 1
            error = error.to(weight.dtype)
            scale = -grad[part, None].to(hidden.dtype)
            torch.mm(error, weight, out=to_hidden[part])
            to_hidden[part] *= scale
            if to_weight.dtype == error.dtype:
                to_weight.addmm_(error.T, scale * hidden[part])
            else:
                to_weight += error.T @ (scale * hidden[part])
            if to_bias is not None:
                to_bias += (error.T @ scale)[:, 0]
        return (
            to_hidden,
            to_weight.to(weight.dtype) if ctx.original is None else None,
            None if bias is None or to_bias is None else to_bias.to(bias.dtype),
            None,
            None,
        )


def _accumulator(weight: Tensor, dtype: torch.dtype, original: Tensor | None) -> Tensor:
    """What the gradient of a weight is added to."""
    if original is None:
        return torch.zeros_like(weight, dtype=dtype)
    if original.grad is None:
        original.grad = torch.zeros_like(original)
    return original.grad


def _chunks(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the hidden states and their logits, which the caller may overwrite.

    All share one buffer: allocating it for every chunk takes a quarter of the product's time.
    """
    size = min(max(1, len(hidden)), chunk(len(weight), weight.device))
    wide = torch.promote_types(hidden.dtype, torch.float32)
    memory = hidden.new_empty(size, len(weight), dtype=wide)
    for start in range(0, len(hidden), size):
        part = slice(start, start + size)
        logits = memory[: len(hidden[part])]
        if wide == hidden.dtype:
            torch.mm(hidden[part], weight.T, out=logits)
        else:
            logits.copy_(hidden[part] @ weight.T)
        yield part, logits if bias is None else logits.add_(bias)
