"""Builds language models whose weights are divided among processes by FSDP2."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.utils._pytree import tree_map_only

from sympo.distributed import drawn_weights, file_weights
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["float32", "bfloat16", "float64"]
# which sums gradients over processes without dividing them
LEAST_TORCH = "2.9"
_CALL = "call_gathered"
_Result = TypeVar("_Result")


def load_sharded(
    folder: Path, mesh: DeviceMesh, precision: Precision = "float32"
) -> "PreTrainedModel":
    """A causal language model from a folder in the hub's format, of which each process reads and
    holds its rows alone.

    precision: see `shard`. Raises BadInput if weights are missing or have another shape.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    shard(model, mesh, precision)
    file_weights.read_weights(model, folder)
    return model


def draw_sharded(
    build: Callable[[], "PreTrainedModel"], mesh: DeviceMesh, precision: Precision = "float32"
) -> "PreTrainedModel":
    """The model that `build` makes with random weights, bit by bit, of which each process holds its
    rows alone.

    build: draws in float32 by torch's default generator, whose state it sets, such as a
        `TinyLM.build`. precision: see `shard`.
    """
    model, draws = drawn_weights.rehearse(build)
    shard(model, mesh, precision)
    drawn_weights.fill(model, draws)
    return model


def shard(model: "PreTrainedModel", mesh: DeviceMesh, precision: Precision = "float32") -> None:
    """Divide a model on the device `meta` by rows among the processes of a mesh, and give each
    process memory for its own weights, without values yet.

    The units, of which one or two are whole at a time, are the layers that the model declares as
    not to be split, and the rest: embeddings, last norm and head.
    precision: float32, float64, or bfloat16: float32 weights, gradients and sums over processes,
    products in bfloat16.

    Raises BadInput for a model without such layers, and for a torch before 2.9.

    Gradients are sums over processes. A forward pass other than the model's own runs through
    `call_gathered`; all processes must take equally many forward and backward passes.
    """
    if torch.__version__ < LEAST_TORCH:
        raise BadInput(f"distributed=fsdp needs torch {LEAST_TORCH}; this is {torch.__version__}")
    policy = MixedPrecisionPolicy()
    if precision == "bfloat16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    dtype = torch.float64 if precision == "float64" else torch.float32
    nn.Module.to(model, dtype)
    model.config.dtype = dtype  # for saving
    for unit in (*layers(model), model):
        kind = type(unit)
        fully_shard(unit, mesh=mesh, mp_policy=policy)
        # the class that takes its place: `transformers` looks classes up by name, and saves names
        type(unit).__name__, type(unit).__module__ = kind.__name__, kind.__module__
        sharded = cast(FSDPModule, unit)
        # a plain sum over processes, which every backend has
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    # `transformers` then generates with equally many steps in all processes
    setattr(model, "_is_fsdp_managed_module", True)  # noqa: B010
    setattr(model, _CALL, _call)
    register_fsdp_forward_method(model, _CALL)
    model.to_empty(device=mesh.device_type)


def layers(model: "PreTrainedModel") -> list[nn.Module]:
    """The layers that a model declares as not to be split; raises BadInput if it has none."""
    names = set(model._no_split_modules or ())
    found = [module for module in model.modules() if type(module).__name__ in names]
    if not found:
        raise BadInput(
            f"{type(model).__name__} declares no layers (_no_split_modules), so it cannot be "
            "divided among processes by distributed=fsdp: use distributed=ddp"
        )
    return found


def call_gathered(
    model: nn.Module, function: Callable[..., _Result], *arguments: object
) -> _Result:
    """Call a function as a forward pass of a sharded model: inside it the weights of the root
    (embeddings, head) are whole, and the backward pass of its result divides their gradients.

    Its result: a tensor, or tensors in tuples, lists and dicts.
    """
    result: _Result = getattr(model, _CALL)(function, *arguments)
    return result


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    # a write into a view would lose the hook of the backward pass
    return tree_map_only(
        Tensor, lambda found: found.clone() if found._is_view() else found, function(*arguments)
    )
