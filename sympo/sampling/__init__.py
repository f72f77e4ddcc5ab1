"""Samplers, which draw the responses of a policy."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.sampling.responses import Responses as Responses
    from sympo.sampling.settings import Sampling as Sampling
    from sympo.sampling.transformers import Transformers as Transformers
    from sympo.sampling.vllm import VLLM as VLLM

# loaded when first asked for, because samplers import torch
_MODULES = {
    "Responses": "sympo.sampling.responses",
    "Sampling": "sympo.sampling.settings",
    "Transformers": "sympo.sampling.transformers",
    "VLLM": "sympo.sampling.vllm",
}
__all__ = ["VLLM", "Responses", "Sampling", "Transformers"]

__getattr__ = loader(__name__, _MODULES)
