"""Samplers: what draws the responses of a policy."""

from importlib import import_module
from typing import Any

_MODULES = {
    "Responses": "sympo.sampling.responses",
    "Sampling": "sympo.sampling.settings",
    "Transformers": "sympo.sampling.transformers",
    "VLLM": "sympo.sampling.vllm",
}
__all__ = ["VLLM", "Responses", "Sampling", "Transformers"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
