"""The losses with exponentials as the authors' code writes them, which overflow.

Source: `mnistpref/loss.py` of github.com/nissymori/SymPO at 506e928.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sympo.losses.convex import Logistic
from sympo.losses.symmetric import Sigmoid
from sympo.protocols.models import Loss


class OverflowingLogistic(Logistic):
    """l(z) = log(1 + e^-z), computed as written: in float32 its gradient is NaN for |z| > 88.7, and
    its value is 0 for z > 16.6."""

    def __call__(self, z: Tensor) -> Tensor:
        return _selected(lambda margin: torch.log(1 + torch.exp(-margin)), z)


class OverflowingSigmoid(Sigmoid):
    """l(z) = 1 / (1 + e^z), computed as written: in float32 its gradient is NaN for |z| > 88.7."""

    def __call__(self, z: Tensor) -> Tensor:
        return _selected(lambda margin: 1 / (1 + torch.exp(margin)), z)


_FORMS: dict[type, Callable[[], Loss]] = {
    Logistic: OverflowingLogistic,
    Sigmoid: OverflowingSigmoid,
}


def overflowing(loss: Loss) -> Loss:
    """The authors' form of a loss; other losses than these two have no exponential in their code,
    and are returned as they are."""
    form = _FORMS.get(type(loss))
    return loss if form is None else form()


def _selected(form: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    # The authors compute the losses of both labels and select one. In the gradient, an overflow of
    # the other one is 0 * inf.
    return torch.where(torch.ones_like(z, dtype=torch.bool), form(z), form(-z))
