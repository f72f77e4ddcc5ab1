"""Memory of a policy whose weights are divided among processes by FSDP2, counted and measured.

    python -m experiments.benchmarks.sharded_memory

Counts the bytes of a process for Llama-3.2-3B by number of processes, without memory for weights:
parameters, gradients and AdamW's moments in float32, and the largest unit that is whole at a time.
Then a Llama of 30 M weights is read from a folder and trained for two steps by one and by two
processes on the CPU, and what they allocate is recorded beside the same count. Activations are not
part of either: the steps are on one short sequence with activation checkpointing. Writes
results/benchmarks/sharded_memory.csv. Needs no GPU, data, account or network; takes a minute.
"""

import argparse
import csv
import io
import os
import sys
import tempfile
from pathlib import Path
from subprocess import Popen
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from experiments.benchmarks.engines import config
from experiments.benchmarks.llama_flops import SHAPES, Shape
from sympo.disk import write_atomically
from sympo.distributed import Peaks, clip_by_global_norm, load_sharded
from sympo.distributed.memory import Counted, count
from sympo.pipelines.reference import checkpoint_activations

LARGE, COUNTED = "llama-3.2-3b", (1, 2, 4, 8)
SMALL, MEASURED = Shape(16_000, 512, 1408, 7, 8, 8, tied=True), (1, 2)
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
    """Read the model and take two steps; what this process allocated."""
    store = dist.FileStore(str(folder / f"store-{processes}"), processes)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (processes,))
    ids = torch.arange(TOKENS)[None]
    with Peaks() as load:
        model = load_sharded(folder, mesh)
    checkpoint_activations(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    parts = [load]
    for _ in range(2):
        optimizer.zero_grad()
        with Peaks() as step:
            torch.autograd.backward(model(ids).logits.log_softmax(-1)[..., 0].sum())
            clip_by_global_norm(model.parameters(), 1.0)
            optimizer.step()
        parts.append(step)
    rows = load.held
    # gradients were released before the second step, which allocates them again
    states = load.held + parts[1].held
    return {
        "processes": processes,
        "parameters": rows,
        "gradients": parts[2].held,
        "moments": parts[1].held - parts[2].held,
        "states": states,
        "largest_tensor": max(part.largest for part in parts),
        "most_at_a_time": max(
            load.live, load.held + parts[1].live, states - parts[2].held + parts[2].live
        ),
    }


def measured(folder: Path, processes: int) -> dict[str, Any]:
    """The most of any process, for each column."""
    command = [sys.executable, "-m", "experiments.benchmarks.sharded_memory"]
    places = [f"{rank},{processes}" for rank in range(processes)]
    started = [Popen([*command, "--place", place, "--folder", str(folder)]) for place in places]
    codes = [one.wait() for one in started]
    if any(codes):
        raise SystemExit("a process failed")
    found = [torch.load(folder / f"{place}.pt") for place in places]
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
        small = skeleton(SMALL).to_empty(device="cpu")
        small.init_weights()
        small.save_pretrained(folder)
        del small
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
