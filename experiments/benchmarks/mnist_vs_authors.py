"""Training epochs per second against the authors' own MNIST loop, on CPU, same thread count.

    python -m experiments.benchmarks.mnist_vs_authors --peer FOLDER --mnist FOLDER

FOLDER after --peer is `mnistpref` of a checkout of github.com/nissymori/SymPO (commit 506e928); the
one after --mnist holds MNIST/raw. Both loops train 10,000 noisy pairs in batches of 512 with the
paper's network. An epoch is timed as each code does it (the authors' evaluates every batch once
more), evaluations on held-out pairs excluded; ours is timed with one cell and with as many as a
sweep trains together, per cell. They alternate, and the median of the paired ratios is reported.
Needs no account and no network; on a GPU (--device cuda --cells 175) it needs hydra-core, omegaconf,
antlr4-python3-runtime, filelock and scipy besides torch and torchvision.
"""

import argparse
import importlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from experiments.benchmarks.results import processor, write
from sympo.data.images import ImagePreferences
from sympo.data.mnist import MNIST
from sympo.losses import Logistic
from sympo.models.cnn import CNN
from sympo.noise import Symmetric, flip
from sympo.training.cells import CellTrainer, RewardCell, Schedule

PAIRS, BATCH, RATE, NOISE = 10_000, 512, 1e-3, 0.4
# multiply-adds of one image through the paper's network, forward: two convolutions, dense layers
FORWARD = 24 * 24 * 6 * 25 + 8 * 8 * 16 * 150 + 256 * 64 + 64 * 64 + 64
# the first convolution needs no gradient of its input
FLOPS_PER_EPOCH = 2 * (3 * FORWARD - 24 * 24 * 6 * 25) * 2 * PAIRS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipes = {}
    # a process each, because ours changes how its process keeps freed memory
    for name in ("peer", "ours"):
        pipes[name], other = context.Pipe()
        context.Process(target=work, args=(name, arguments, other), daemon=True).start()
        print(f"{name} is ready: {pipes[name].recv():.3g} FLOP/s", flush=True)
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    rates = []
    for _ in range(arguments.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send("epoch")
            took, rate = pipe.recv()
            seconds[name].append(took)
            rates.append(rate)
        print(f"authors {seconds['peer'][-1]:.2f} s, ours {seconds['ours'][-1]:.2f} s", flush=True)
    # the first round warms up
    us, them = seconds["ours"][1:], seconds["peer"][1:]
    ratios = [b / a for a, b in zip(us, them, strict=True)]
    row = {
        "name": "mnist_training_epochs_per_s",
        "ours": 1 / statistics.median(us),
        "peer": 1 / statistics.median(them),
        "unit": f"epochs/s on {arguments.threads} CPU thread(s)",
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "limit": statistics.median(rates) / FLOPS_PER_EPOCH,
        "limit_is": "rate of a 2048 x 2048 float32 product, same run, over the FLOPs of an epoch",
    }
    out = arguments.out / "mnist_vs_authors.json"
    print(write(out, [row], device=processor(), threads=arguments.threads))
    for pipe in pipes.values():
        pipe.send("end")


def work(name: str, arguments: argparse.Namespace, pipe: Connection) -> None:
    """Run one epoch at each message, and answer with its seconds and the machine's matrix rate."""
    torch.set_num_threads(arguments.threads)
    dataset = MNIST(
        path=str(arguments.mnist), train_images=30_000, validation_images=1_000,
        train_pairs=PAIRS, validation_pairs=100,
    )  # fmt: skip
    dataset.check()
    data = dataset.draw(0)
    epoch = our_epoch(data) if name == "ours" else authors_epoch(arguments.peer, data)
    pipe.send(matrix_rate())
    while pipe.recv() == "epoch":
        pipe.send((timed(epoch), matrix_rate()))


def timed(epoch: Callable[[], object]) -> float:
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def matrix_rate() -> float:
    """FLOP/s of a large float32 matrix product on the threads in use."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(timed(lambda: a @ a) for _ in range(5))


def our_epoch(data: ImagePreferences) -> Callable[[], object]:
    cell = RewardCell(
        0, Logistic(), flip(Symmetric(), NOISE, data.train, 0),
        flip(Symmetric(), NOISE, data.validation, 0),
    )  # fmt: skip
    trainer = CellTrainer([cell], {0: data}, CNN(), Schedule(1, BATCH, RATE, 1))
    return trainer.train_epoch


def authors_epoch(folder: Path, data: ImagePreferences) -> Callable[[], object]:
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
    digits = torch.from_numpy(data.digits).float()
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
    network = model.CNN(-20, 20, use_dropout=True, dropout_ratio=0.2, use_batchnorm=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    config = SimpleNamespace(num_epochs=1, algo="sympo", loss_type="logistic")
    device = torch.device("cpu")
    return lambda: loss.train(network, optimizer, loader, None, device, config)


if __name__ == "__main__":
    main()
