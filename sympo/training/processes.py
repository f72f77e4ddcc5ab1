"""One policy trained by several processes of `torch.distributed`, which share each step's pairs.

Without a process group, there is one process.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


def share(batch: np.ndarray) -> np.ndarray:
    """This process's part of a batch; the parts of all processes partition it."""
    return batch[dist.get_rank() :: dist.get_world_size()] if _several() else batch


def rescale(parameters: Sequence[nn.Parameter], factor: float) -> None:
    """Multiply all gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and factor != 1.0:
        torch._foreach_mul_(gradients, factor)


def add_up(parameters: Sequence[nn.Parameter], log_scale: float, total: float) -> float:
    """Sum gradients over processes, in place, and the total weight, which is returned.

    log_scale: the process's gradients and total are in units of exp(log_scale), -inf if it had no
    pairs; afterwards they are in units of the largest scale.
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
    """The values of all processes, concatenated."""
    if not _several():
        return values
    parts: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values.cpu())
    return torch.cat([part for part in parts if part is not None])


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
