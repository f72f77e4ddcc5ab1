"""Training epochs per second against the authors' own MNIST loop, on CPU, same thread count.

    python -m experiments.benchmarks.mnist_vs_authors --peer FOLDER --mnist FOLDER

FOLDER after --peer is `mnistpref` of a checkout of github.com/nissymori/SymPO (commit 506e928); the
one after --mnist holds MNIST/raw. Both loops train 10,000 noisy pairs in batches of 512 with the
paper's network. An epoch is timed as each code does it (the authors' evaluates every batch once
more), evaluations on held-out pairs excluded; ours is timed with one cell and with as many as a
sweep trains together, per cell. They alternate, and the median of the paired ratios is reported.
Needs no account and no network; on a GPU (--device cuda --cells 175) it needs hydra-core,
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
# the paper's; a cell alone has the first
LOSSES = (Logistic(), Hinge(), Square(), Sigmoid(), Ramp(), Unhinged(), TruncatedHinge())
# multiply-adds of one image through the paper's network, forward: two convolutions, dense layers
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
    # a process each, because ours changes how its process keeps freed memory
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
    """A row of the results from the seconds of an epoch; the first round warms up."""
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
    """Run one epoch at each message, and answer with its seconds for a cell and the device's matrix
    rate; cells: that are trained together, 0 for the authors' loop."""
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
    """FLOP/s in float32: of the cores' multiply-adds, of a GPU's large matrix product."""
    if device.type == "cpu" and (rate := multiply_add_rate()):
        return threads * rate
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / min(timed(lambda: a @ a, device) for _ in range(5))


def our_epoch(data: ImagePreferences, cells: int, device: torch.device) -> Callable[[], object]:
    """An epoch of cells that differ in their loss and their noise rate."""
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
    """The authors' `train`, on the same pairs, with its separate evaluation and logging off."""
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
