"""The norm of gradients that are divided among processes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@torch.no_grad()
def global_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """|g| over all rows of all gradients, equal in all processes; a scalar on the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@torch.no_grad()
def clip_by_global_norm(
    parameters: Iterable[nn.Parameter], most: float, divisor: float = 1.0
) -> Tensor:
    """Divide gradients in place, then scale them down to a norm of at most `most`.

    g <- g / divisor * min(1, most / (|g| / divisor + 1e-6)), as `torch.nn.utils.clip_grad_norm_`.
    Returns |g| / divisor before clipping. All processes must call it.
    """
    parameters = list(parameters)
    norm = global_norm(parameters) / divisor
    factor = (most / (norm + 1e-6)).clamp(max=1.0) / divisor
    gradients = [p.grad for p in parameters if p.grad is not None]
    local = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    torch._foreach_mul_(local, factor)
    return norm
