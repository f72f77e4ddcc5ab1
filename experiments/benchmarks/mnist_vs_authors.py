"""Training epochs per second, against the authors' MNIST loop with the same CPU threads.

    python -m experiments.benchmarks.mnist_vs_authors --peer FOLDER --mnist FOLDER

The --peer folder is `mnistpref` in a checkout of github.com/nissymori/SymPO (commit 506e928). The
--mnist folder holds MNIST/raw. Both loops train on 10,000 noisy pairs in batches of 512 with the
paper's network. Each epoch is timed as its code runs it (the authors' code evaluates every batch
again), without evaluations on held-out pairs. Ours is timed with one cell, and per cell with as
many as a sweep trains together. The loops alternate, and the median of the paired ratios is
reported. Needs no account and no network. On a GPU (--device cuda --cells 175) it needs hydra-core,
omegaconf, antlr4-python3-runtime and filelock besides torch, torchvision and scipy.
"""

import argparse
import importlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from experiments.batches import CELLS_ON_CPU
from experiments.benchmarks.results import multiply_add_rate, processor, write
from sympo.data.mnist import MNIST
from sympo.losses import Hinge, Logistic, Ramp, Sigmoid, Square, TruncatedHinge, Unhinged
from sympo.models.images.cnn import CNN
from sympo.noise import Symmetric, flip
from sympo.process import keep_freed_memory
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.types import ImagePreferences

PAIRS, BATCH, RATE, NOISE = 10_000, 512, 1e-3, 0.4
# the paper's; a single cell has the first
LOSSES = (Logistic(), Hinge(), Square(), Sigmoid(), Ramp(), Unhinged(), TruncatedHinge())
# forward multiply-adds of an image in the paper's network: two convolutions, then dense layers
FORWARD = 24 * 24 * 6 * 25 + 8 * 8 * 16 * 150 + 256 * 64 + 64 * 64 + 64
# the first convolution needs no gradient of its input
FLOPS_PER_EPOCH = 2 * (3 * FORWARD - 24 * 24 * 6 * 25) * 2 * PAIRS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", type=int, default=CELLS_ON_CPU, help="trained together")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipes = {}
    # separate processes, because ours changes how its process keeps freed memory
    loops = {"peer": 0, "ours": 1, "ours in a batch": arguments.cells}
    for name, cells in loops.items():
        pipes[name], other = context.Pipe()
        context.Process(target=work, args=(cells, arguments, other), daemon=True).start()
        print(f"{name} is ready: {pipes[name].recv():.3g} FLOP/s", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    rates = []
    for _ in range(arguments.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("epoch")
            took, rate = pipe.recv()
            seconds[name].append(took)
            rates.append(rate)
        print(", ".join(f"{name} {took[-1]:.3f} s" for name, took in seconds.items()), flush=True)
    rate = statistics.median(rates)
    rows = [
        compared("mnist_training_epochs_per_s", seconds["ours"], seconds["peer"], rate),
        compared(
            f"mnist_training_epochs_per_s, {arguments.cells} cells together",
            seconds["ours in a batch"], seconds["peer"], rate,
        ),
    ]  # fmt: skip
    cuda = arguments.device != "cpu"
    device = torch.cuda.get_device_name(arguments.device) if cuda else processor()
    name = "mnist_vs_authors_gpu.json" if cuda else "mnist_vs_authors.json"
    print(write(arguments.out / name, rows, device=device, threads=arguments.threads))
    for pipe in pipes.values():
        pipe.send("end")


def compared(name: str, us: list[float], them: list[float], rate: float) -> dict[str, Any]:
    """A row of results from seconds per epoch; the first round is a warm-up."""
    us, them = us[1:], them[1:]
    ratios = [b / a for a, b in zip(us, them, strict=True)]
    return {
        "name": name,
        "ours": 1 / statistics.median(us),
        "peer": 1 / statistics.median(them),
        "unit": "epochs/s of a cell",
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "limit": rate / FLOPS_PER_EPOCH,
        "limit_is": "float32 multiply-adds of registers (GPU: a 2048 x 2048 product), same run, "
        "over the FLOPs of an epoch",
        "share_of_limit": FLOPS_PER_EPOCH / statistics.median(us) / rate,
    }


def work(cells: int, arguments: argparse.Namespace, pipe: Connection) -> None:
    """Run one epoch per message, and reply with its seconds per cell and the device's rate.

    cells: how many to train together; 0 for the authors' loop.
    """
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    device = torch.device(arguments.device)
    dataset = MNIST(
        path=str(arguments.mnist), train_images=30_000, validation_images=1_000,
        train_pairs=PAIRS, validation_pairs=100,
    )  # fmt: skip
    dataset.check()
    data = dataset.draw(0)
    peer = partial(authors_epoch, arguments.peer)
    epoch = our_epoch(data, cells, device) if cells else peer(data, device)
    rate = partial(limit, device, arguments.threads)
    pipe.send(rate())
    while pipe.recv() == "epoch":
        pipe.send((timed(epoch, device) / max(1, cells), rate()))


def timed(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def limit(device: torch.device, threads: int) -> float:
    """FLOP/s in float32: multiply-adds on CPU cores, or a large matrix product on a GPU."""
    if device.type == "cpu" and (rate := multiply_add_rate()):
        return threads * rate
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / min(timed(lambda: a @ a, device) for _ in range(5))


def our_epoch(data: ImagePreferences, cells: int, device: torch.device) -> Callable[[], object]:
    """An epoch of cells that differ in loss and noise rate."""
    made = [
        RewardCell(
            0, LOSSES[number % len(LOSSES)], flip(Symmetric(), rate, data.train, 0),
            flip(Symmetric(), rate, data.validation, 0),
        )
        for number, rate in enumerate(NOISE * (number + 1) / cells for number in range(cells))
    ]  # fmt: skip
    return CellTrainer(made, {0: data}, CNN(), Schedule(1, BATCH, RATE, 1), device).train_epoch


def authors_epoch(
    folder: Path, data: ImagePreferences, device: torch.device
) -> Callable[[], object]:
    """The authors' `train` on the same pairs, without its separate evaluation and logging."""
    sys.path.insert(0, str(folder))
    loss: Any = importlib.import_module("loss")
    model: Any = importlib.import_module("model")
    loss.test = lambda *_: dict.fromkeys(loss.metrics_keys(), 0.0)
    loss.wandb = SimpleNamespace(log=lambda _: None)
    loss.print = lambda *_: None
    noisy = flip(Symmetric(), NOISE, data.train, 0)
    pairs = noisy.pairs
    images = torch.from_numpy(data.pixels).float()
    digits = torch.from_numpy(data.rewards).float()
    first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
    loader = DataLoader(
        TensorDataset(
            torch.stack([images[first], images[second]], 1),
            torch.from_numpy(noisy.noisy_label > 0).float(),
            torch.from_numpy(pairs.label > 0).float(),
            digits[first] - digits[second],
            torch.stack([digits[first], digits[second]], 1),
        ),
        batch_size=BATCH,
        shuffle=True,
    )
    network = model.CNN(-20, 20, use_dropout=True, dropout_ratio=0.2, use_batchnorm=True).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    config = SimpleNamespace(num_epochs=1, algo="sympo", loss_type="logistic")
    return lambda: loss.train(network, optimizer, loader, None, device, config)


if __name__ == "__main__":
    main()
