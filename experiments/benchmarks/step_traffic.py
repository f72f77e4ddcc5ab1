"""Counts the kernels, bytes and FLOPs of a GPU step of the paper's whole MNIST grid.

    python -m experiments.benchmarks.step_traffic

Nothing is computed or timed: the step runs on meta tensors, and each kernel counts what it reads
and writes once, as if there were no cache between kernels. Divided by a GPU's rates (H200: 4.8e12
bytes/s, 67e12 FLOP/s in float32), the counts estimate the fastest possible step; a launch is taken
as 15 us, as seen there. Of evaluations the passes through the network are counted. A step of one
cell is counted as its kernels, and as what is launched when they are replayed as a CUDA graph.
Needs torch and Triton, but no GPU, data, account or network.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from sympo.training.cuda_graph import Replayed
from sympo.training.stacked_cells import EVALUATION_IMAGES, CellTrainer, RewardCell, Schedule
from sympo.types import ImagePreferences, NoisyPairs, PreferencePairs

SEEDS, RATES, EPOCHS = 5, 5, 100
# of the grid: its evaluations, and the images that each one scores
EVALUATIONS, SCORED = 10, 50_000
# seconds that a launch took, and bytes/s, on an H200: by measurement, and by its datasheet
LAUNCH, RATE_OF_MEMORY = 15e-6, 4.8e12
# operators that move nothing: views, and allocations
FREE = {
    *("view", "_unsafe_view", "permute", "transpose", "t", "expand", "unfold", "unbind", "split"),
    *(
        "split_with_sizes",
        "slice",
        "select",
        "squeeze",
        "unsqueeze",
        "detach",
        "alias",
        "as_strided",
    ),
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

    @property
    def launched(self) -> int:
        return self.kernels.total()

    @property
    def moved(self) -> int:
        return sum(self.bytes.values())

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
    operators, kernels = Counts(None), Counts(tile_kernels)
    for name, count in kernels.step.bytes.most_common(12):
        print(
            f"{name:30s}{kernels.step.kernels[name]:5d} kernels"
            f"{count / kernels.images / 1e3:8.1f} KB an image"
        )
    peers = operators.totals()
    rows = [
        row(name, ours, peers[name][0], unit) for name, (ours, unit) in kernels.totals().items()
    ]
    print(write(arguments.out / "step_traffic.json", rows, device="none: counted, not timed"))


def row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": peer / ours,
            "peer_is": "PyTorch's operators alone"}  # fmt: skip


class Counts:
    """What the grid asks of a GPU, with the kernels of a module or with operators alone.

    step: of all cells; alone: of one cell; replayed: the same, once it is recorded; evaluation: a
    pass of all cells over as many images.
    """

    def __init__(self, module: Any) -> None:
        trainer, alone = grid(), CellTrainer(*one_cell(), "meta")
        all_seeds, one_seed = (
            torch.zeros(seeds, BATCH, dtype=torch.int64, device="meta") for seeds in (SEEDS, 1)
        )
        self.images = len(trainer.cells) * 2 * BATCH
        with FlopCounterMode(display=False) as flops:
            self.step = counted(lambda: trainer.step(all_seeds), module)
        self.flops = flops.get_total_flops()
        images = torch.cat([all_seeds] * 2, 1)
        self.evaluation = counted(lambda: evaluate(trainer, images), module)
        cast(Any, alone)._update = Replayed(alone._updated, print, recorded)
        # at its second run a step is recorded
        self.alone, _, self.replayed = (
            counted(lambda: alone.step(one_seed), module) for _ in range(3)
        )

    def totals(self) -> dict[str, tuple[float, str]]:
        """By name, each with its unit."""
        steps, passes = EPOCHS * -(-PAIRS // BATCH), EVALUATIONS * -(-SCORED // EVALUATION_IMAGES)
        launches = steps * self.step.launched + passes * self.evaluation.launched
        per_image, evaluated = self.step.moved / self.images, self.evaluation.moved / self.images
        cells = SEEDS * len(LOSSES) * RATES
        images = cells * EPOCHS * 2 * PAIRS
        trained, evaluating = per_image * images, evaluated * cells * EVALUATIONS * SCORED
        return {
            "a step: kernels": (self.step.launched, "kernels"),
            "an image and cell: KB": (per_image / 1e3, "KB"),
            "an image and cell: MFLOP": (self.flops / self.images / 1e6, "MFLOP"),
            "the grid: TB": (trained / 1e12, "TB"),
            "the grid: PFLOP": (self.flops / self.images * images / 1e15, "PFLOP"),
            "a pass of an evaluation: kernels": (self.evaluation.launched, "kernels"),
            "an image and cell in an evaluation: KB": (evaluated / 1e3, "KB"),
            "the grid's evaluations: TB": (evaluating / 1e12, "TB"),
            "the grid: launches, s at 15 us": (launches * LAUNCH, "s"),
            "the grid: memory, s at 4.8 TB/s": ((trained + evaluating) / RATE_OF_MEMORY, "s"),
            "a step of one cell: kernels": (self.alone.launched, "kernels"),
            "a step of one cell, recorded: launches": (self.replayed.launched, "launches"),
            "a step of one cell: memory, us at 4.8 TB/s": (
                1e6 * self.alone.moved / RATE_OF_MEMORY, "us",
            ),
        }  # fmt: skip


def counted(work: Callable[[], object], module: Any) -> Traffic:
    """The traffic of some work, with the kernels of a module or with operators alone."""
    traffic = Traffic()
    if module:
        for name in ("_cut", "_add_up", "_pool", "_pool_backward"):
            setattr(module, name, Launches(name, traffic))
    cast(Any, tiles).kernels = lambda device: module
    draw = StackedCNN.draw

    def drawn(model: StackedCNN, images: int) -> Tensor:
        # on the CPU, by as many kernels, because meta tensors have no generator
        there, model.seed_of_cell = model.seed_of_cell, torch.empty(0)
        shape = draw(model, images).shape
        model.seed_of_cell = there
        return torch.empty(shape, dtype=torch.int64, device="meta")

    cast(Any, StackedCNN).draw = drawn
    try:
        with traffic:
            work()
    finally:
        cast(Any, StackedCNN).draw = draw
    return traffic


class Nothing:
    """A graph whose replay is one launch."""

    def replay(self) -> None:
        torch.empty(0, device="meta").zero_()


def recorded(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Nothing, Tensor]:
    return Nothing(), function(*inputs)


@torch.no_grad()
def evaluate(trainer: CellTrainer, index: Tensor) -> None:
    trainer.model.eval()
    trainer.model(trainer._images(index))


def grid() -> CellTrainer:
    """The cells of the paper's grid, including clean ones, on meta tensors."""
    cells, data, model, schedule = one_cell()
    noisy, draw = cells[0].train, data[0]
    every = [
        RewardCell(seed, loss, noisy, noisy)
        for seed in range(SEEDS)
        for loss in LOSSES
        for _ in range(RATES)
    ]
    return CellTrainer(every, dict.fromkeys(range(SEEDS), draw), model, schedule, "meta")


def one_cell() -> tuple[list[RewardCell], dict[int, ImagePreferences], CNN, Schedule]:
    """What makes the trainer of a single cell."""
    one = np.zeros(PAIRS, np.int64)
    pairs = PreferencePairs(one.astype(np.uint64), one, one, one + 1.0, one + 1.0)
    draw = ImagePreferences(
        np.zeros((1, 28, 28), np.uint8), 0.0, 1.0, np.zeros(1, np.int64), pairs, pairs, pairs,
        one[:1], np.zeros(1, np.int64),
    )  # fmt: skip
    noisy = NoisyPairs(pairs, one > 0)
    return (
        [RewardCell(0, LOSSES[0], noisy, noisy)],
        {0: draw},
        CNN(),
        Schedule(EPOCHS, BATCH, RATE, EPOCHS // EVALUATIONS),
    )


if __name__ == "__main__":
    main()
