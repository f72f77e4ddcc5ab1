"""Memory of a policy whose weights are divided among processes by FSDP2, counted and measured.

    python -m experiments.benchmarks.sharded_memory

Counts the bytes of a process for Llama-3.2-3B by number of processes, without memory for weights:
parameters, gradients and AdamW's moments in float32, and the largest unit that is whole at a time.
Then a Llama of 30 M weights is read from a folder and trained for two steps by one and by two
processes on the CPU, and what a process holds is measured beside the same count, with the largest
growth of its resident memory, which includes what gloo copies. The steps are on one short sequence
with activation checkpointing, so activations hardly matter. Writes
results/benchmarks/sharded_memory.csv. Needs Linux, and no GPU, data, account or network; takes a
minute.
"""

import argparse
import csv
import gc
import io
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from subprocess import Popen
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from experiments.benchmarks.engines import config
from experiments.benchmarks.llama_flops import SHAPES, Shape
from sympo.disk import write_atomically
from sympo.distributed import Peaks, clip_by_global_norm, load_sharded
from sympo.distributed.memory import Counted, count
from sympo.pipelines.reference import checkpoint_activations

LARGE, COUNTED = "llama-3.2-3b", (1, 2, 4, 8)
SMALL, MEASURED = Shape(16_000, 512, 1408, 7, 8, 8, tied=True), (1, 2)
TINY = Shape(64, 16, 24, 2, 2, 2, tied=True)
TOKENS = 16
COLUMNS = (
    "model", "how", "processes", "weights", "parameters", "gradients", "moments", "states",
    "largest_unit", "largest_tensor", "largest_tensor_allowed", "most_at_a_time",
)  # fmt: skip


def skeleton(shape: Shape) -> Any:
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(config(shape, TOKENS, 0))


def counted(name: str, shape: Shape, processes: int) -> dict[str, Any]:
    model = skeleton(shape)
    weights = sum(p.numel() for p in model.parameters())
    return {
        "model": name,
        "how": "counted",
        "weights": weights,
        **_columns(count(model, processes)),
    }


def _columns(found: Counted) -> dict[str, int]:
    return {
        "processes": found.processes,
        "parameters": found.parameters,
        "gradients": found.gradients,
        "moments": found.moments,
        "states": found.states,
        "largest_unit": found.unit,
        "largest_tensor_allowed": found.largest,
    }


def train(folder: Path, rank: int, processes: int) -> dict[str, Any]:
    """Read the model and take two steps; what this process held."""
    store = FileStore(str(folder / f"store-{processes}"), processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (processes,))
    _steps(folder / "tiny", mesh)  # loads code, which takes memory too
    gc.collect()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # begin a new peak
    model, optimizer = _steps(folder, mesh)
    most = _resident("VmHWM") - before
    with Peaks() as peaks:
        _steps(folder, mesh)
    parts = {
        "parameters": _bytes(model.parameters()),
        "gradients": _bytes(p.grad for p in model.parameters()),
        "moments": _bytes(
            one
            for state in optimizer.state.values()
            for one in (state["exp_avg"], state["exp_avg_sq"])
        ),
    }
    return {
        "processes": processes,
        **parts,
        "states": sum(parts.values()),
        "largest_tensor": peaks.largest,
        "most_at_a_time": most,
    }


def _steps(folder: Path, mesh: DeviceMesh) -> tuple[Any, torch.optim.Optimizer]:
    model = load_sharded(folder, mesh)
    checkpoint_activations(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.arange(TOKENS)[None]
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(model(ids).logits.log_softmax(-1)[..., 0].sum())
        clip_by_global_norm(model.parameters(), 1.0)
        optimizer.step()
    return model, optimizer


def _resident(field: str) -> int:
    """A field of Linux' account of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def _bytes(tensors: Iterable[Any]) -> int:
    """Bytes of this process's rows; those of several weights may lie in one storage."""
    storages = [one.to_local().untyped_storage() for one in tensors]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())


def measured(folder: Path, processes: int) -> dict[str, Any]:
    """The most of any process, for each column."""
    command = [sys.executable, "-m", "experiments.benchmarks.sharded_memory"]
    places = [f"{rank},{processes}" for rank in range(processes)]
    started = [Popen([*command, "--place", place, "--folder", str(folder)]) for place in places]
    codes = [one.wait() for one in started]
    if any(codes):
        raise SystemExit("a process failed")
    found = [torch.load(folder / f"{place}.pt", weights_only=True) for place in places]
    most = {key: max(one[key] for one in found) for key in found[0]}
    return {"model": "30 M weights", "how": "measured", **most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/sharded_memory.csv"))
    parser.add_argument("--place", help=argparse.SUPPRESS)  # of a process that it starts
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.place:
        rank, processes = map(int, arguments.place.split(","))
        found = train(arguments.folder, rank, processes)
        torch.save(found, arguments.folder / f"{arguments.place}.pt")
        dist.barrier()
        os._exit(0)  # gloo's own end aborts now and then
    rows = [counted(LARGE, SHAPES[LARGE], processes) for processes in COUNTED]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for shape, place in ((SMALL, folder), (TINY, folder / "tiny")):
            made = skeleton(shape).to_empty(device="cpu")
            made.init_weights()
            made.save_pretrained(place)
            del made
        for processes in MEASURED:
            rows.append(counted("30 M weights", SMALL, processes))
            rows.append(measured(folder, processes))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out, text.getvalue())
    print(text.getvalue(), end="")


if __name__ == "__main__":
    main()
