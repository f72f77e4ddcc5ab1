"""Reward models of images: convolutional networks, many cells side by side."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sympo.models.images.cnn import CNN as CNN
    from sympo.models.images.cnn import StackedCNN as StackedCNN

# loaded when first asked for, because they import torch
_MODULES = {
    "CNN": "sympo.models.images.cnn",
    "StackedCNN": "sympo.models.images.cnn",
}
__all__ = ["CNN", "StackedCNN"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
