"""One policy trained by several processes of `torch.distributed`, which share each step's pairs.

Where no process group is there, a process is the only one.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


def share(batch: np.ndarray) -> np.ndarray:
    """The part of a batch that this process computes; every pair is in one part."""
    return batch[dist.get_rank() :: dist.get_world_size()] if _several() else batch


def rescale(parameters: Sequence[nn.Parameter], factor: float) -> None:
    """Multiply all gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and factor != 1.0:
        torch._foreach_mul_(gradients, factor)


def add_up(parameters: Sequence[nn.Parameter], log_scale: float, total: float) -> float:
    """Add up what the processes summed: gradients in place, and the total weight, returned.

    log_scale: of this process; its gradients and total stand for exp(log_scale) times their value,
    -inf where it had no pairs. What is returned and left is relative to the largest scale.
    """
    if not _several():
        return total
    device = parameters[0].device
    top = torch.tensor(log_scale, dtype=torch.float64, device=device)
    dist.all_reduce(top, dist.ReduceOp.MAX)
    factor = math.exp(log_scale - float(top))
    rescale(parameters, factor)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
    weight = torch.tensor(total * factor, dtype=torch.float64, device=device)
    dist.all_reduce(weight)
    return float(weight)


def gather(values: Tensor) -> Tensor:
    """The values of all processes, one after the other."""
    if not _several():
        return values
    parts: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values.cpu())
    return torch.cat([part for part in parts if part is not None])


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
