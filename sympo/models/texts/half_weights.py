"""Weights of matrix products in autocast's precision, made once instead of in every call."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


@contextmanager
def half_weights(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Inside the context, linear layers have copies of their weights in `dtype`; None: no change.

    Under autocast to `dtype` the results are the same bit for bit: autocast casts the weights of
    these layers in each call, and keeps only the casts of weights that are trained. Embeddings,
    also those tied to a head, and norms stay as they are. Nothing inside may change the weights.
    """
    replaced = [] if dtype is None else _replaced(model, dtype)
    try:
        yield
    finally:
        for module, name, original in replaced:
            module.register_parameter(name, original)


def _replaced(model: nn.Module, dtype: torch.dtype) -> list[tuple[nn.Module, str, nn.Parameter]]:
    found = []
    for module in model.modules():
        if type(module) in (nn.Linear, Conv1D):
            for name, original in list(module.named_parameters(recurse=False)):
                copy = nn.Parameter(original.detach().to(dtype), requires_grad=False)
                module.register_parameter(name, copy)
                found.append((module, name, original))
    return found
