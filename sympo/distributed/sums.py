"""Sums of gradients and of what belongs to a step, over the processes that share its pairs."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sympo.distributed import processes


def rescale(parameters: Sequence[nn.Parameter], factor: float) -> None:
    """Multiply all gradients."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and factor != 1.0:
        torch._foreach_mul_(gradients, factor)


def largest(value: float, device: torch.device) -> float:
    """The largest value of all processes."""
    if not processes.several():
        return value
    top = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(top, dist.ReduceOp.MAX)
    return float(top)


def add_up(
    parameters: Sequence[nn.Parameter], log_scale: float, total: float, divided: bool = False
) -> float:
    """Sum gradients over processes, in place, and the total weight, which is returned.

    log_scale: the process's gradients and total are in units of exp(log_scale), -inf if it had no
    pairs; afterwards they are in units of the largest scale. divided: whether the weights are, so
    that their gradients are sums already, in one scale.
    """
    if not processes.several():
        return total
    device = parameters[0].device
    factor = 1.0
    if not divided:
        factor = math.exp(log_scale - largest(log_scale, device))
        rescale(parameters, factor)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
    weight = torch.tensor(total * factor, dtype=torch.float64, device=device)
    dist.all_reduce(weight)
    return float(weight)


def gather(values: Tensor) -> Tensor:
    """The values of all processes, concatenated; on the CPU if there are several."""
    if not processes.several():
        return values
    return torch.cat(processes.gathered(values.cpu()))
