"""Draws random weights in the order of a whole model's construction, and keeps a process's rows.

The numbers are those of the model built in one piece, bit by bit, so that a seed means the same
model for any number of processes; no more than the weights of one module are whole at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from sympo.distributed.rows import own_rows, recompute_buffers
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# the state of the random generator before each module was initialised, in their order
Draws = dict[nn.Module, Tensor]


def rehearse(build: Callable[[], "PreTrainedModel"]) -> tuple["PreTrainedModel", Draws]:
    """Build a model without memory for its weights, on the device `meta`, drawing its random
    numbers nevertheless, one tensor at a time; they are not kept."""
    from transformers import PreTrainedModel

    draws: Draws = {}
    initialise, initialise_all = PreTrainedModel._initialize_weights, PreTrainedModel.init_weights

    def record(self: PreTrainedModel, module: nn.Module, *more: Any, **named: Any) -> None:
        draws.setdefault(module, torch.get_rng_state())
        initialise(self, module, *more, **named)

    def initialise_on_meta(self: PreTrainedModel) -> None:
        # which `transformers` leaves out there
        self.initialize_weights()  # type: ignore[no-untyped-call]
        initialise_all(self)  # type: ignore[no-untyped-call]

    recording = mock.patch.multiple(
        PreTrainedModel, _initialize_weights=record, init_weights=initialise_on_meta
    )
    drawing = _DrawsWithoutMemory()  # type: ignore[no-untyped-call]
    with torch.device("meta"), drawing, recording:
        model = build()
    return model, draws


@torch.no_grad()
def fill(model: "PreTrainedModel", draws: Draws) -> None:
    """Give a sharded model the weights that its rehearsal drew.

    Raises BadInput if the model draws weights far from the modules that they belong to.
    """
    owners: dict[Tensor, nn.Module] = {}
    with torch.random.fork_rng(devices=[]), _RefuseDivided(model.config.model_type):
        for module, state in draws.items():
            torch.set_rng_state(state)
            with ExitStack() as stack:
                # a module may draw the weights of its children again
                for one in (module, *module.children()):
                    stack.enter_context(_whole(one, owners))
                model._init_weights(module)  # type: ignore[no-untyped-call]
    if any(weight not in owners for weight in model.parameters()):
        raise _refused(model.config.model_type)
    recompute_buffers(model)


@contextmanager
def _whole(module: nn.Module, owners: dict[Tensor, nn.Module]) -> Iterator[None]:
    """Give a module whole weights, and keep the process's rows of those that were written.

    owners: the module that first drew a weight; others that it is tied to do not write it.
    """
    divided = {
        key: one for key, one in module.named_parameters(recurse=False) if isinstance(one, DTensor)
    }
    # drawn in float32, as other types give other numbers
    whole = {key: torch.empty(one.shape, dtype=torch.float32) for key, one in divided.items()}
    before = {key: one._version for key, one in whole.items()}
    module._parameters.update({key: nn.Parameter(one) for key, one in whole.items()})
    try:
        yield
    finally:
        module._parameters.update(divided)
    for key, drawn in whole.items():
        weight = divided[key]
        if drawn._version > before[key] and owners.setdefault(weight, module) is module:
            rows = own_rows(weight)
            rows.local.copy_(drawn[rows.start : rows.start + len(rows.local)])


def _is_random(function: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in function.tags


class _DrawsWithoutMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Advance the CPU's random generator as if tensors on `meta` were real."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_random(func) and args and isinstance(args[0], Tensor) and args[0].is_meta:
            func(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs)
        return func(*args, **kwargs)


class _RefuseDivided(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse to draw a divided weight, whose numbers would depend on the number of processes."""

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if _is_random(func) and isinstance(args[0], DTensor):
            raise _refused(self.name)
        return func(*args, **(kwargs or {}))


def _refused(model_type: str) -> BadInput:
    return BadInput(
        f"a model of the type {model_type} does not draw each weight in its own module or the one "
        "around it, so it cannot be drawn in parts under distributed=fsdp: load it from a folder"
    )
