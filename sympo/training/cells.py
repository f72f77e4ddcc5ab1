"""Training reward models, a batch of cells at a time; a single run is the batch of one.

A cell is one point of a sweep. The cells of one seed see the same pairs in the same order, start
from the same weights and drop the same units; they differ in their flips and their loss. Each cell
has weights of its own, stacked along a leading dimension, and every step of the optimizer is
elementwise, so no cell feels another.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sympo import seeding
from sympo.data.images import ImagePreferences
from sympo.evaluation import rewards as evaluation
from sympo.losses import MarginLoss
from sympo.training.adam import Adam
from sympo.types import NoisyPairs

EVALUATION_IMAGES = 1024

Metrics = dict[str, float | None]


class RewardModels(Protocol):
    """Settings that build a stack of reward models; images (S, N, H, W) -> rewards (C, N)."""

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise BadInput where images of this size do not fit, before any work starts."""
        ...

    def build(
        self, image_size: tuple[int, int], seeds: Sequence[int], cells_per_seed: Sequence[int]
    ) -> nn.Module: ...


@dataclass(frozen=True)
class RewardCell:
    """One cell: its seed, its loss, and the pairs with the flips that it sees."""

    seed: int
    loss: MarginLoss
    train: NoisyPairs
    validation: NoisyPairs


@dataclass(frozen=True)
class Schedule:
    """How every cell of a batch is trained.

    epochs: passes over the training pairs; batch_size: in pairs; learning_rate: Adam's.
    evaluate_every: epochs between two evaluations; the last epoch is always evaluated.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    evaluate_every: int


class Diverged(RuntimeError):
    """A cell's training loss or its rewards are no longer finite numbers."""


class CellTrainer:
    """Trains cells side by side on one device.

    cells: those of one seed stand together; all have equally many training pairs.
    data: the draw of each seed.
    """

    def __init__(
        self,
        cells: Sequence[RewardCell],
        data: Mapping[int, ImagePreferences],
        model: RewardModels,
        schedule: Schedule,
        device: torch.device | str = "cpu",
    ) -> None:
        keep_freed_memory()
        self.cells, self.schedule = list(cells), schedule
        self.device = torch.device(device)
        self.seeds = list(dict.fromkeys(cell.seed for cell in cells))
        counts = [sum(cell.seed == seed for cell in cells) for seed in self.seeds]
        if [cell.seed for cell in cells] != [
            seed for seed, count in zip(self.seeds, counts, strict=True) for _ in range(count)
        ]:
            raise ValueError("the cells of one seed must stand together")
        draws = [data[seed] for seed in self.seeds]
        self.data = [data[cell.seed] for cell in cells]
        self.dtype = torch.get_default_dtype()
        pixels = draws[0].pixels
        size = (pixels.shape[1], pixels.shape[2])
        self.model = model.build(size, self.seeds, counts).to(self.device)
        self.optimizer = Adam(list(self.model.parameters()), schedule.learning_rate)
        self.pixels = self._tensor(pixels)
        shape = (-1, 1, 1, 1)
        self.mean = self._tensor(np.array([draw.mean for draw in draws])).to(self.dtype).view(shape)
        self.std = self._tensor(np.array([draw.std for draw in draws])).to(self.dtype).view(shape)
        self.first = self._tensor(np.stack([draw.train.first for draw in draws]))
        self.second = self._tensor(np.stack([draw.train.second for draw in draws]))
        self.seed_of_cell = torch.arange(len(draws)).repeat_interleave(torch.tensor(counts))
        labels = np.stack([cell.train.noisy_label for cell in cells])
        self.label = self._tensor(labels).to(self.dtype)
        self.scored = [_scored_images(draw) for draw in draws]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def train(self, on_evaluation: Callable[[int, list[Metrics]], None]) -> None:
        """Train all epochs; `on_evaluation(epoch, metrics of each cell)` at the set cadence.

        Raises Diverged where a cell's loss is no longer finite.
        """
        for epoch in range(1, self.schedule.epochs + 1):
            losses = self.train_epoch(epoch)
            for cell, loss in zip(self.cells, losses, strict=True):
                if not np.isfinite(loss):
                    raise Diverged(
                        f"the mean training loss of {cell.loss} at seed {cell.seed} is {loss} in "
                        f"epoch {epoch}; a lower job.learning_rate may help"
                    )
            if epoch % self.schedule.evaluate_every == 0 or epoch == self.schedule.epochs:
                found = self.evaluate()
                for metrics, loss in zip(found, losses, strict=True):
                    metrics["train/loss"] = float(loss)
                on_evaluation(epoch, found)

    def train_epoch(self, epoch: int) -> np.ndarray:
        """One pass over the training pairs, in an order drawn from seed and epoch.

        Returns the mean loss of each cell over the epoch, as it was at each step; (C,).
        """
        self.model.train()
        count = self.first.shape[1]
        order = self._tensor(
            np.stack(
                [
                    seeding.generator(seed, "batches", str(epoch)).permutation(count)
                    for seed in self.seeds
                ]
            )
        )
        total = torch.zeros(len(self.cells), device=self.device, dtype=self.dtype)
        for start in range(0, count, self.schedule.batch_size):
            total += self.step(order[:, start : start + self.schedule.batch_size])
        return (total / count).cpu().numpy()

    def step(self, index: Tensor) -> Tensor:
        """One update on the training pairs `index` (S, b); the sum of each cell's losses, (C,)."""
        # both images of a pair go through one pass, so that batch norm sees them together
        images = torch.cat([self.first.gather(1, index), self.second.gather(1, index)], 1)
        reward = self.model(self._images(images))
        first, second = reward.chunk(2, dim=1)
        margin = self.label.gather(1, index[self.seed_of_cell]) * (first - second)
        values = torch.stack(
            [cell.loss(z) for cell, z in zip(self.cells, margin.unbind(), strict=True)]
        )
        # each cell's own reduction over its pairs, summed over cells: each gets its own gradient
        reduced = [cell.loss.reduce(z) for cell, z in zip(self.cells, values.unbind(), strict=True)]
        self.optimizer.step(torch.stack(reduced).sum())
        return values.detach().sum(1)

    def _images(self, index: Tensor) -> Tensor:
        """Normalised images (S, n, H, W) of image numbers (S, n)."""
        shape = (*index.shape, *self.pixels.shape[1:])
        # selected as rows, which is ten times as fast as indexing images
        rows = self.pixels.flatten(1).index_select(0, index.flatten())
        return rows.to(self.dtype).view(shape).sub_(self.mean).div_(self.std)

    @torch.no_grad()
    def rewards(self) -> list[np.ndarray]:
        """The reward of every image that a split uses, in evaluation mode; NaN elsewhere.

        One (N,) float64 array per cell, over all N images of the data set. Raises Diverged where a
        reward is not a finite number.
        """
        self.model.eval()
        longest = max(map(len, self.scored))
        # seeds may use different numbers of images: repeat the last one to a common length
        index = np.stack([np.pad(s, (0, longest - len(s)), mode="edge") for s in self.scored])
        batches = self._tensor(index).split(EVALUATION_IMAGES, 1)
        parts = [self.model(self._images(batch)) for batch in batches]
        found = torch.cat(parts, 1).double().cpu().numpy()
        filled = []
        for cell, place, reward in zip(self.cells, self.seed_of_cell, found, strict=True):
            if not np.isfinite(reward).all():
                raise Diverged(f"rewards of {cell.loss} at seed {cell.seed} are no finite numbers")
            values = np.full(len(self.pixels), np.nan)
            values[index[place]] = reward
            filled.append(values)
        return filled

    def evaluate(self) -> list[Metrics]:
        """The metrics of each cell on its train, validation and test splits."""
        return [
            _metrics(reward, cell, draw)
            for reward, cell, draw in zip(self.rewards(), self.cells, self.data, strict=True)
        ]


def _scored_images(draw: ImagePreferences) -> np.ndarray:
    pairs = (draw.train, draw.validation, draw.test)
    used = [images for split in pairs for images in (split.first, split.second)]
    return np.unique(np.concatenate([*used, draw.test_images]))


def _metrics(reward: np.ndarray, cell: RewardCell, draw: ImagePreferences) -> Metrics:
    test = evaluation.order_metrics(reward, draw.test) | evaluation.rank_metrics(
        reward[draw.test_images], draw.digits[draw.test_images]
    )
    found = {
        "test": test,
        "train": evaluation.label_metrics(reward, cell.train),
        "validation": evaluation.label_metrics(reward, cell.validation),
    }
    return {f"{split}/{name}": part[name] for split, part in found.items() for name in part}


def keep_freed_memory() -> None:
    """Have large tensors on CPU reuse memory, in huge pages, instead of mapping it anew.

    Activations of some megabytes are allocated at every step. By default glibc returns each freed
    block to the system and faults the next one in page by page, a third of a step in all.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first large block
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            # M_MMAP_THRESHOLD, of which older versions of glibc take 32 MB at the most
            if libc.mallopt(-3, 1 << 30) or libc.mallopt(-3, 1 << 25):
                libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass
