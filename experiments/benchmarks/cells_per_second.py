"""Training speed against the number of MNIST cells trained together.

    python -m experiments.benchmarks.cells_per_second --mnist FOLDER [--device cuda --most 1024]

FOLDER holds MNIST/raw. Cells follow the paper's protocol (10,000 pairs in batches of 512) and
differ in loss and noise rate, at one seed. Each number of cells runs in its own process on one CPU
thread; on a GPU one process takes them in turn. Reported are the median time of an epoch after a
warm-up epoch, without evaluations, and the peak memory of the process (on a GPU, of its
allocations). Epochs are repeated until the 95% interval of their mean is within --half-width of it,
at least --least times, and no longer than --seconds for each number of cells. On CPU both
convolutions are measured: compiled, and tiles, the fallback on machines without a C++ compiler. The
limit counts multiply-adds only. Needs no account and no network.
"""

import argparse
import gc
import multiprocessing
import resource
import statistics
import sys
from dataclasses import dataclass
from functools import cache
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
from experiments.benchmarks.repetition import Until, relative_half_width, repeated
from experiments.benchmarks.results import processor, write
from sympo.data.mnist import MNIST
from sympo.models.images.cnn import StackedCNN
from sympo.types import ImagePreferences


@dataclass(frozen=True)
class Measured:
    """Seconds per epoch of all cells, peak MiB, and the device's FLOP/s."""

    seconds: list[float]
    mib: float
    rate: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--most", type=int, default=64)
    parser.add_argument("--half-width", type=float, default=Until.half_width)
    parser.add_argument("--least", type=int, default=Until.least, help="epochs")
    parser.add_argument("--seconds", type=float, help="default 10, on a GPU 3")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    cuda = arguments.device != "cpu"
    until = Until(arguments.half_width, arguments.least, arguments.seconds or (3 if cuda else 10))
    counts = [2**power for power in range(arguments.most.bit_length())]
    engines = ["tiles"] if cuda else ["compiled", "tiles"]
    device = torch.cuda.get_device_name(arguments.device) if cuda else processor()
    name = "cells_per_second_gpu" if cuda else "cells_per_second"
    rows: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    # a new process for each count on CPU, since its peak of memory cannot be reset; on a GPU it
    # can, and a new process would take longer to start than to measure
    with context.Pool(1, maxtasksperchild=None if cuda else 1) as pool:
        for engine in engines:
            alone = None
            for cells in counts:
                found = pool.apply(measure, (engine, cells, until, arguments))
                speed = cells / statistics.median(found.seconds)
                alone = alone or speed
                rows.append(
                    {
                        "name": f"{engine}, {cells} cells: cell_epochs_per_s", "engine": engine,
                        "cells": cells, "ours": speed, "peer": alone, "unit": "epochs/s of cells",
                        "ratio": speed / alone, "peer_is": "one cell alone", "mib": found.mib,
                        "limit": found.rate / FLOPS_PER_EPOCH, "epochs": len(found.seconds),
                        "half_width": relative_half_width(found.seconds),
                    }
                )  # fmt: skip
                print(
                    f"{engine}, {cells} cells: {speed:.2f} epochs/s, {found.mib:.0f} MiB, "
                    f"{len(found.seconds)} epochs",
                    flush=True,
                )
                write(arguments.out / f"{name}.json", rows, device=device, threads=1)


def measure(engine: str, cells: int, until: Until, arguments: argparse.Namespace) -> Measured:
    """Time epochs of this many cells together."""
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    if engine == "tiles":
        StackedCNN.compiled = lambda *_: None  # type: ignore[method-assign]
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    epoch = our_epoch(_data(arguments.mnist), cells, device)
    # warm-up; on a GPU the last, smaller step of an epoch is recorded in the second one
    for _ in range(2 if device.type == "cuda" else 1):
        timed(epoch, device)
    took = repeated(lambda: timed(epoch, device), until)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Measured(took, memory / 2**20, limit(device, 1))


@cache
def _data(folder: Path) -> ImagePreferences:
    return MNIST(
        path=str(folder), train_images=30_000, validation_images=1_000,
        train_pairs=PAIRS, validation_pairs=100,
    ).draw(0)  # fmt: skip


if __name__ == "__main__":
    main()
