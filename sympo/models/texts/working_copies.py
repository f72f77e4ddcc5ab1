"""Weights of linear layers in the precision of matrix products, copied once per change.

`torch.autocast` casts every weight again in each context, and each pass casts its gradient back.
Here the copies outlive the passes: they are made again only when the float32 weights have changed,
after a step of the optimizer, and never for frozen weights.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

_in_use: list["WorkingCopies"] = []


class WorkingCopies:
    """Copies of the weights of linear layers, which replace them inside `in_use`.

    The values are those that autocast would compute: the same rounding of the same weights, and
    gradients that are added to the float32 weights' `.grad` in float32. Outside of `in_use` the
    model has its float32 weights alone, so that saving and loading see no difference.

    A weight has changed if its version or its memory has. Fused optimizers and writes through
    `.data` leave both, and need `torch.autograd.graph.increment_version` after a step.

    modules: whose weights and biases are copied; dtype: of the copies.
    """

    def __init__(self, modules: Iterable[nn.Module], dtype: torch.dtype) -> None:
        self._copies = [
            _Copy(module._parameters, name, dtype)
            for module in dict.fromkeys(modules)
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.dtype == torch.float32
        ]

    def original(self, weight: Tensor) -> nn.Parameter | None:
        """The float32 weight behind a copy; None if it is not a copy."""
        return next((one.original for one in self._copies if one.copy is weight), None)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Compute with the copies inside the context, up to date with the float32 weights."""
        if _in_use and _in_use[-1] is self:
            yield
            return
        for one in self._copies:
            one.refresh()
        _in_use.append(self)
        try:
            for one in self._copies:
                one.owner[one.name] = one.copy
            yield
        finally:
            for one in self._copies:
                one.owner[one.name] = one.original
            _in_use.pop()


def in_use_again() -> AbstractContextManager[None]:
    """A context that computes later with the copies that are in use now, for activation
    checkpointing, which repeats forward passes in the backward pass."""
    return _in_use[-1].in_use() if _in_use else nullcontext()


class _Copy:
    """A weight and its copy. owner, name: where the module keeps it."""

    def __init__(
        self, owner: dict[str, nn.Parameter | None], name: str, dtype: torch.dtype
    ) -> None:
        self.owner, self.name, self.dtype = owner, name, dtype
        self.original: nn.Parameter | None = None
        self.copy: nn.Parameter | None = None
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Follow the weight: its values, device, and whether it is trained."""
        original = self.owner[self.name]
        assert original is not None
        copy, seen = self.copy, (original._version, original.data_ptr())
        if (
            original is not self.original
            or copy is None
            or copy.device != original.device
            or copy.requires_grad != original.requires_grad
        ):
            self.original, self.copy = original, _copied(original, self.dtype)
        elif seen != self._seen:
            with torch.no_grad():
                copy.copy_(original)
        self._seen = seen


def _copied(original: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    copy = nn.Parameter(original.detach().to(dtype), original.requires_grad)

    def add(copy: Tensor) -> None:
        gradient, copy.grad = copy.grad, None
        if gradient is None:  # `token_logps` has added it to the original's
            return
        if original.grad is None:
            original.grad = gradient.to(original.dtype)
        else:
            original.grad.add_(gradient)

    if copy.requires_grad:
        copy.register_post_accumulate_grad_hook(add)  # type: ignore[no-untyped-call]
    return copy
