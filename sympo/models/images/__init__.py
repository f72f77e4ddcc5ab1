"""Reward models of images: convolutional networks, many cells side by side."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.models.images.cnn import CNN as CNN
    from sympo.models.images.cnn import StackedCNN as StackedCNN

# loaded when first asked for, because they import torch
_MODULES = {
    "CNN": "sympo.models.images.cnn",
    "StackedCNN": "sympo.models.images.cnn",
}
__all__ = ["CNN", "StackedCNN"]

__getattr__ = loader(__name__, _MODULES)
