"""What one of several processes does in `test_sharding`."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from sympo.distributed import (
    Peaks,
    call_gathered,
    draw_sharded,
    gather_to_folder,
    load_into,
    load_sharded,
    save_sharded,
)
from sympo.distributed.memory import count
from sympo.pipelines.reference import checkpoint_activations
from tests.distributed.sharded_models import (
    FAMILIES,
    IDS,
    adamw,
    family,
    gradients,
    llama,
    step,
    whole,
)


def equalities(folder: Path, mesh: DeviceMesh, name: str) -> dict[str, Any]:
    """Passes, gradients and steps in float64, and a checkpoint between two of them."""
    own = IDS[mesh.get_local_rank() :: mesh.size()]
    model: Any = load_sharded(folder / name, mesh, "float64")
    model.train()

    def by_parts() -> Tensor:
        hidden = model.base_model(input_ids=own, use_cache=False).last_hidden_state
        return hidden @ model.get_output_embeddings().weight.T

    found: dict[str, Any] = {
        "logits": model(own).logits.detach(),
        "gradients": gradients(model, lambda: model(own).logits),
        "gradients by parts": gradients(model, lambda: call_gathered(model, by_parts)),
    }
    checkpoint_activations(model)
    found["gradients recomputed"] = gradients(model, lambda: model(own).logits)
    optimizer = adamw(model, fused=name == "tied")
    found["norms"] = [step(model, optimizer, own) for _ in range(3)]
    for _ in range(2):  # the second replaces the first
        save_sharded(folder / f"{name}-checkpoint", model, optimizer, {"done": 3})
    found["norms"] += [step(model, optimizer, own) for _ in range(2)]
    found["trained"] = whole(model.named_parameters())
    gather_to_folder(model, folder / f"{name}-trained", bytes_per_file=40_000)
    found["trained logits"] = model(IDS).logits.detach()
    return found


def memory(folder: Path, mesh: DeviceMesh) -> dict[str, int]:
    """The largest allocation of each part of a training's life, in float32."""
    with torch.device("meta"):
        counted = count(llama(tied=True), mesh.size())
    found = {"bound": counted.largest}
    with Peaks() as peaks:
        model = load_sharded(folder / "tied", mesh)
    found["load"] = peaks.largest
    model.train()
    optimizer = adamw(model)
    with Peaks() as peaks:
        step(model, optimizer, IDS[:1])
    found["step"] = peaks.largest
    with Peaks() as peaks:
        save_sharded(folder / "memory-checkpoint", model, optimizer, {})
    found["save"] = peaks.largest
    with Peaks() as peaks:
        model = draw_sharded(lambda: llama(tied=True), mesh)
        load_into(folder / "memory-checkpoint", model, adamw(model))
    found["load again"] = peaks.largest
    with Peaks() as peaks:
        gather_to_folder(model, folder / "memory-gathered")
    found["gather"] = peaks.largest
    return found


def precisions(folder: Path, mesh: DeviceMesh) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        model: Any = draw_sharded(lambda: llama(tied=True), mesh, precision)  # type: ignore[arg-type]
        found[precision] = model(IDS).logits.detach()
        found[f"{precision} gradients"] = gradients(model, lambda: model(IDS).logits)  # noqa: B023
    found["types"] = {str(p.dtype) for p in model.parameters()}
    return found


def everything(folder: Path, mesh: DeviceMesh) -> dict[str, Any]:
    """Of the models `tied` and `untied` in the folder."""
    found: dict[str, Any] = {name: equalities(folder, mesh, name) for name in ("tied", "untied")}
    return {**found, "memory": memory(folder, mesh), "precisions": precisions(folder, mesh)}


def continued(folder: Path, mesh: DeviceMesh) -> dict[str, Any]:
    """Two more steps from the checkpoints of `equalities`."""
    found = {}
    own = IDS[mesh.get_local_rank() :: mesh.size()]
    for name in ("tied", "untied"):
        model = load_sharded(folder / name, mesh, "float64").train()
        optimizer = adamw(model, fused=name == "tied")
        assert load_into(folder / f"{name}-checkpoint", model, optimizer) == {"done": 3}
        norms = [step(model, optimizer, own) for _ in range(2)]
        found[name] = {"norms": norms, "trained": whole(model.named_parameters())}
    return found


def families(folder: Path, mesh: DeviceMesh) -> dict[str, Any]:
    found = {}
    for name in FAMILIES:
        drawn = draw_sharded(lambda: family(name), mesh)  # noqa: B023
        read: Any = load_sharded(folder / name, mesh)
        logits = read.eval()(IDS).logits.detach()
        gather_to_folder(read, folder / f"{name}-gathered")
        found[name] = {"drawn": whole(drawn.named_parameters()), "logits": logits}
    return found


WORK = {"all": everything, "continued": continued, "families": families}


def main(work: str, folder: Path, rank: int, size: int) -> None:
    store = dist.FileStore(str(folder / f"{work}-store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (size,))
    torch.save(WORK[work](folder, mesh), folder / f"{work}-{rank}.pt")
    dist.barrier()
    # gloo's own end, with threads still running, aborts now and then
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
