"""Training speed against the number of MNIST cells trained together.

    python -m experiments.benchmarks.cells_per_second --mnist FOLDER [--device cuda --most 1024]

FOLDER holds MNIST/raw. Cells follow the paper's protocol (10,000 pairs in batches of 512) and
differ in loss and noise rate, at one seed. Each number of cells runs in its own process on one CPU
thread. Reported are the median time of several epochs after a warm-up epoch, without evaluations,
and the peak memory of the process (on a GPU, of its allocations). On CPU both convolutions are
measured: compiled, and tiles, the fallback on machines without a C++ compiler. The limit counts
multiply-adds only. Needs no account and no network.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.mnist_vs_authors import (
    FLOPS_PER_EPOCH,
    PAIRS,
    limit,
    our_epoch,
    timed,
)
from experiments.benchmarks.results import processor, write
from sympo.data.mnist import MNIST
from sympo.models.images.cnn import StackedCNN

EPOCHS = {"cpu": 3, "cuda": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--most", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    cuda = arguments.device != "cpu"
    counts = [2**power for power in range(arguments.most.bit_length())]
    engines = ["tiles"] if cuda else ["compiled", "tiles"]
    rows: list[dict[str, Any]] = []
    for engine in engines:
        alone = None
        for cells in counts:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, memory, rate = pool.apply(measure, (engine, cells, arguments))
            speed = cells / seconds
            alone = alone or speed
            rows.append(
                {
                    "name": f"{engine}, {cells} cells: cell_epochs_per_s", "engine": engine,
                    "cells": cells, "ours": speed, "peer": alone, "unit": "epochs/s of cells",
                    "ratio": speed / alone, "peer_is": "one cell alone", "mib": memory,
                    "limit": rate / FLOPS_PER_EPOCH,
                }
            )  # fmt: skip
            print(f"{engine}, {cells} cells: {speed:.2f} epochs/s, {memory:.0f} MiB", flush=True)
            device = torch.cuda.get_device_name(arguments.device) if cuda else processor()
            name = "cells_per_second_gpu" if cuda else "cells_per_second"
            write(arguments.out / f"{name}.json", rows, device=device, threads=1)


def measure(engine: str, cells: int, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds per epoch of all cells, peak MiB, and the device's FLOP/s."""
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    if engine == "tiles":
        StackedCNN.compiled = lambda *_: None  # type: ignore[method-assign]
    data = MNIST(
        path=str(arguments.mnist), train_images=30_000, validation_images=1_000,
        train_pairs=PAIRS, validation_pairs=100,
    ).draw(0)  # fmt: skip
    epoch = our_epoch(data, cells, device)
    took = [timed(epoch, device) for _ in range(1 + EPOCHS[device.type])]
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return statistics.median(took[1:]), memory / 2**20, limit(device, 1)


if __name__ == "__main__":
    main()
