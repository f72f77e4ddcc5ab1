"""Counts the kernels, bytes and FLOPs of a GPU step of the paper's whole MNIST grid.

    python -m experiments.benchmarks.step_traffic

Nothing is computed or timed: the step runs on meta tensors, and each kernel counts what it reads
and writes once, as if there were no cache between kernels. Divided by a GPU's rates (H200: 4.8e12
bytes/s, 67e12 FLOP/s in float32), the counts estimate the fastest possible step. Evaluations are
not counted. Needs torch and Triton, but no GPU, data, account or network.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.mnist_vs_authors import BATCH, LOSSES, PAIRS, RATE
from experiments.benchmarks.results import write
from sympo.models.images.cnn import CNN, StackedCNN
from sympo.models.images.convolutions import tiled_products as tiles
from sympo.models.images.convolutions import triton_kernels as tile_kernels
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.types import ImagePreferences, NoisyPairs, PreferencePairs

SEEDS, RATES, EPOCHS = 5, 5, 100
# operators that move nothing: views, and allocations
FREE = {
    *("view", "_unsafe_view", "permute", "transpose", "t", "expand", "unfold", "unbind", "split"),
    *("split_with_sizes", "slice", "select", "squeeze", "unsqueeze", "detach", "alias"),
    *("empty", "new_empty", "empty_like", "new_empty_strided"),
}


class Traffic(TorchDispatchMode):
    """Counts kernels and bytes of all operators inside the context, and of those added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, name: str, tensors: Iterable[Any]) -> None:
        self.kernels[name] += 1
        self.bytes[name] += sum(x.nbytes for x in tensors if isinstance(x, Tensor))

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        out = function(*arguments, **(named or {}))
        name = function.overloadpacket.__name__
        if name not in FREE:
            found = torch.utils._pytree.tree_leaves((arguments, named, out))
            # tensors written in place are both arguments and results
            self.add(name, {id(x): x for x in found}.values())
        return out


class Launches:
    """Replaces a Triton kernel and counts what it would read and write."""

    def __init__(self, name: str, traffic: Traffic) -> None:
        self.name, self.traffic = name, traffic

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments: self.traffic.add(self.name, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    operators, _ = counted(None)
    kernels, flops = counted(tile_kernels)
    images = SEEDS * len(LOSSES) * RATES * 2 * BATCH
    steps = EPOCHS * PAIRS / BATCH
    for name, count in kernels.bytes.most_common(12):
        print(
            f"{name:30s}{kernels.kernels[name]:5d} kernels{count / images / 1e3:8.1f} KB an image"
        )
    moved, before = (sum(traffic.bytes.values()) for traffic in (kernels, operators))
    launched, launched_before = (traffic.kernels.total() for traffic in (kernels, operators))
    rows = [
        row("a step: kernels", launched, launched_before, "kernels"),
        row("an image and cell: KB", moved / images / 1e3, before / images / 1e3, "KB"),
        row("an image and cell: MFLOP", flops / images / 1e6, None, "MFLOP"),
        row("the grid: TB", moved * steps / 1e12, before * steps / 1e12, "TB"),
        row("the grid: PFLOP", flops * steps / 1e15, None, "PFLOP"),
    ]
    print(write(arguments.out / "step_traffic.json", rows, device="none: counted, not timed"))


def row(name: str, ours: float, peer: float | None, unit: str) -> dict[str, Any]:
    ratio = {"ratio": peer / ours} if peer else {"ratio": None}
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, **ratio,
            "peer_is": "PyTorch's operators alone"}  # fmt: skip


def counted(module: Any) -> tuple[Traffic, int]:
    """The traffic and FLOPs of a step, with the kernels of a module or with operators alone."""
    traffic, flops = Traffic(), FlopCounterMode(display=False)
    if module:
        for name in ("_cut", "_add_up", "_pool", "_pool_backward"):
            setattr(module, name, Launches(name, traffic))
    cast(Any, tiles).kernels = lambda device: module
    draw = StackedCNN._masks

    def masks(model: StackedCNN, widths: Sequence[int], images: Tensor) -> list[Tensor]:
        # drawn on the CPU, by as many kernels, because meta tensors have no generator
        drawn = draw(model, widths, torch.empty(images.shape[:2]))
        return [torch.empty_like(mask, device="meta") for mask in drawn if mask is not None]

    cast(Any, StackedCNN)._masks = masks
    trainer = grid()
    index = torch.zeros(SEEDS, BATCH, dtype=torch.int64, device="meta")
    with flops, traffic:
        trainer.step(index)
    cast(Any, StackedCNN)._masks = draw
    return traffic, flops.get_total_flops()


def grid() -> CellTrainer:
    """The cells of the paper's grid, including clean ones, on meta tensors."""
    one = np.zeros(PAIRS, np.int64)
    pairs = PreferencePairs(one.astype(np.uint64), one, one, one + 1.0, one + 1.0)
    draw = ImagePreferences(
        np.zeros((1, 28, 28), np.uint8), 0.0, 1.0, np.zeros(1, np.int64), pairs, pairs, pairs,
        one[:1], np.zeros(1, np.int64),
    )  # fmt: skip
    noisy = NoisyPairs(pairs, one > 0)
    cells = [
        RewardCell(seed, loss, noisy, noisy)
        for seed in range(SEEDS)
        for loss in LOSSES
        for _ in range(RATES)
    ]
    schedule = Schedule(EPOCHS, BATCH, RATE, 10)
    return CellTrainer(cells, dict.fromkeys(range(SEEDS), draw), CNN(), schedule, "meta")


if __name__ == "__main__":
    main()
