"""Weights of matrix products in autocast's precision, made once instead of in every call."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def half_weights(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Inside the context, linear layers have copies of their weights in `dtype`; None: no change.

    Under autocast to `dtype`, results are the same bit for bit. Autocast casts weights in each
    call, and keeps only the casts of those that require gradients. Embeddings (also if tied to the
    head) and norms stay in float32. Nothing inside may train the weights.
    """
    replaced = [] if dtype is None else _replaced(model, dtype)
    try:
        yield
    finally:
        for module, name, original in replaced:
            module.register_parameter(name, original)


def _replaced(model: nn.Module, dtype: torch.dtype) -> list[tuple[nn.Module, str, nn.Parameter]]:
    from transformers.pytorch_utils import Conv1D

    found = []
    for module in model.modules():
        # exactly these: a subclass may read its weights in float32
        if type(module) in (nn.Linear, Conv1D):
            for name, original in list(module.named_parameters(recurse=False)):
                half = nn.Parameter(original.detach().to(dtype), requires_grad=False)
                module.register_parameter(name, half)
                found.append((module, name, original))
    return found
