"""Trains reward models of images, a batch of cells at a time; a single run is a batch of one.

A cell is one point of a sweep. The cells of one seed see the same pairs in the same order, start
from the same weights and drop the same units; they differ in their flips and their loss. Each cell
has its own weights, stacked along a leading dimension, and every step of the optimizer is
elementwise, so cells do not affect each other.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sympo import ranges, seeding
from sympo.evaluation.gradients import gradient_metrics
from sympo.evaluation.stacked_rewards import StackedMetrics
from sympo.margins import Reward
from sympo.outcomes import Scored
from sympo.protocols.models import ImageModel, Loss
from sympo.ranges import Count, Positive
from sympo.training.adam import Adam
from sympo.training.cuda_graph import Replayed
from sympo.training.diverged import Diverged
from sympo.training.stacked_objective import StackedObjective, stacked_column
from sympo.types import Evaluation, ImagePreferences, NoisyPairs

EVALUATION_IMAGES = 1024
# Up to here a step is recorded as a CUDA graph: 64 cells with 512 pairs of MNIST. On an H200 a step
# waited 6 ms for its launches, and 175 cells took 0.09 ms a cell (docs/speed.md). Larger steps gain
# nothing, and evaluations cannot use the memory of a graph.
RECORDED_PIXELS = 64 * 1024 * 28 * 28


@dataclass(frozen=True)
class RewardCell:
    """One cell: its seed, its loss, and the pairs with the flips that it sees."""

    seed: int
    loss: Loss
    train: NoisyPairs
    validation: NoisyPairs


@dataclass(frozen=True)
class Schedule:
    """How every cell of a batch is trained.

    epochs: passes over the training pairs; batch_size: in pairs; learning_rate: Adam's.
    evaluate_every: epochs between two evaluations; the last epoch is always evaluated.

    Two faults of the authors' code. last_test_batch: in the last epoch, only the last batch of the
    test pairs is scored, and the metric `test/final_reward_correct` is twice its pairwise accuracy.
    averages_never_reset: the training loss of epoch e, with B batches each of loss l, is reported
    as T_e = (T_{e-1} + sum l) / (e B) instead of sum l / B.
    """

    epochs: Count = 100
    batch_size: Count = 512
    learning_rate: Positive = 1e-3
    evaluate_every: Count = 5
    last_test_batch: bool = False
    averages_never_reset: bool = False

    def __post_init__(self) -> None:
        ranges.check(self)


# called after every epoch with the number of epochs done and each cell's evaluation, if one is due
AfterEpoch = Callable[[int, list[Evaluation] | None], None]


class CellTrainer:
    """Trains cells side by side on one device.

    cells: those of one seed are adjacent; all have equally many training pairs.
    data: the draw of each seed. note: shows one sentence about what slows training down.

    epoch: epochs done. diverged: the cells that diverged, by number; they do not affect the others,
    and their later numbers mean nothing.
    """

    def __init__(
        self,
        cells: Sequence[RewardCell],
        data: Mapping[int, ImagePreferences],
        model: ImageModel,
        schedule: Schedule,
        device: torch.device | str = "cpu",
        note: Callable[[str], object] = warnings.warn,
    ) -> None:
        self.cells, self.schedule = list(cells), schedule
        self.device = torch.device(device)
        self.seeds = list(dict.fromkeys(cell.seed for cell in cells))
        counts = [sum(cell.seed == seed for cell in cells) for seed in self.seeds]
        if [cell.seed for cell in cells] != [
            seed for seed, count in zip(self.seeds, counts, strict=True) for _ in range(count)
        ]:
            raise ValueError("the cells of one seed must be adjacent")
        self.cells_per_seed = counts
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
        pairs = [np.stack([draw.train.first, draw.train.second]) for draw in draws]
        self.pairs = self._tensor(np.stack(pairs))
        self.seed_of_cell = self._tensor(np.repeat(np.arange(len(draws)), counts))
        labels = np.stack([cell.train.trained_label for cell in cells])
        self.label = self._tensor(labels).to(self.dtype)
        self.weight = self._column([cell.train.weight for cell in cells])
        self.probability = self._column([cell.train.probability for cell in cells])
        self.objective = StackedObjective(
            Reward(),
            [cell.loss for cell in cells],
            self.device,
            shared=self.device.type != "cpu",
            weighted=[cell.train.weight is not None for cell in cells],
        )
        self.metrics, self.test = self._metrics_of(draws)
        self.last_metrics, self.last_test = self.metrics, self.test
        if schedule.last_test_batch:
            ends = [_last_test_batch(draw, schedule.batch_size) for draw in draws]
            self.last_metrics, self.last_test = self._metrics_of(ends)
        self.average = np.zeros(len(cells))
        self._update: Callable[[Tensor, Tensor], Tensor] = self._updated
        images = 2 * min(schedule.batch_size, self.pairs.shape[2]) * len(cells)
        if self.device.type == "cuda" and images * size[0] * size[1] <= RECORDED_PIXELS:
            self._update = Replayed(self._updated, note)
        self.epoch = 0
        self.diverged: dict[int, Diverged] = {}

    def _metrics_of(
        self, draws: Sequence[ImagePreferences]
    ) -> tuple[list[StackedMetrics], list[Scored]]:
        """The metrics of each seed's cells, and the test pairs of each cell."""
        ends = np.cumsum(self.cells_per_seed).tolist()
        parts = [
            self.cells[end - count : end]
            for count, end in zip(self.cells_per_seed, ends, strict=True)
        ]
        metrics = [
            StackedMetrics(
                draw,
                [cell.train for cell in part],
                [cell.validation for cell in part],
                self.device,
            )
            for draw, part in zip(draws, parts, strict=True)
        ]
        scored = [_test_pairs(draw) for draw in draws]
        return metrics, [one for one, part in zip(scored, parts, strict=True) for _ in part]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _column(self, cells: Sequence[np.ndarray | None]) -> Tensor | None:
        column = stacked_column(cells, self.pairs.shape[2])
        return None if column is None else self._tensor(column).to(self.dtype)

    def weigh(self, weight: np.ndarray) -> None:
        """Replace the weights of the training pairs, (C, n); every cell must have had weights."""
        assert self.weight is not None
        self.weight.copy_(self._tensor(weight))  # in place, for recorded steps

    def soften(self, probability: np.ndarray) -> None:
        """Replace the probabilities that the labels of the training pairs are right, (C, n); cells
        without any get them before their first epoch."""
        if self.probability is None:
            assert self.epoch == 0  # recorded steps have none
            self.probability = self._tensor(probability).to(self.dtype)
        self.probability.copy_(self._tensor(probability))

    def train(self, after_epoch: AfterEpoch) -> None:
        """Train the remaining epochs, or until all cells have diverged, evaluating on schedule."""
        every, epochs = self.schedule.evaluate_every, self.schedule.epochs
        while self.epoch < epochs and len(self.diverged) < len(self.cells):
            losses = self._reported(self.train_epoch())
            due = self.epoch % every == 0 or self.epoch == epochs
            found = self.evaluate() if due else None
            for one, loss in zip(found or (), losses, strict=False):
                one.metrics["train/loss"] = float(loss)
            after_epoch(self.epoch, found)

    def train_epoch(self) -> np.ndarray:
        """One pass over the training pairs, in an order drawn from seed and epoch.

        Returns the (weighted) mean loss of each cell over the epoch, as it was at each step; (C,).
        """
        self.epoch += 1
        self.model.train()
        count = self.pairs.shape[2]
        order = self._tensor(
            np.stack(
                [
                    seeding.generator(seed, "batches", str(self.epoch)).permutation(count)
                    for seed in self.seeds
                ]
            )
        )
        total = torch.zeros(len(self.cells), device=self.device, dtype=self.dtype)
        for start in range(0, count, self.schedule.batch_size):
            total += self.step(order[:, start : start + self.schedule.batch_size])
        weights = count if self.weight is None else self.weight.sum(1)
        losses = (total / weights).cpu().numpy()
        for number in np.flatnonzero(~np.isfinite(losses)).tolist():
            self._diverges(
                number,
                f"the mean training loss of {{cell}} is {losses[number]} in epoch {self.epoch}; a "
                "lower learning rate may help",
            )
        return losses

    def _reported(self, losses: np.ndarray) -> np.ndarray:
        """Each cell's training loss as it is reported, from its mean over the epoch."""
        if self.schedule.averages_never_reset:
            batches = -(-self.pairs.shape[2] // self.schedule.batch_size)
            self.average = (self.average + batches * losses) / (batches * self.epoch)
        return self.average if self.schedule.averages_never_reset else losses

    def _diverges(self, number: int, what: str) -> None:
        cell = self.cells[number]
        error = Diverged(what.format(cell=f"{cell.loss} at seed {cell.seed}"))
        self.diverged.setdefault(number, error)

    def state(self) -> list[dict[str, Any]]:
        """The checkpoint of each cell, which can be resumed in any batch."""
        model = {
            key: value.cpu() if isinstance(value, Tensor) else value
            for key, value in self.model.state_dict().items()
        }
        return [
            {
                "epoch": self.epoch,
                "model": {key: _of_cell(value, number) for key, value in model.items()},
                "optimizer": state,
                "average": float(self.average[number]),
            }
            for number, state in enumerate(self.optimizer.states())
        ]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from the `state` of each cell; all were trained equally long."""
        self.epoch = states[0]["epoch"]
        # only averages that are never reset go into later numbers, and older states have none
        self.average = np.array([state.get("average", 0.0) for state in states])
        model: dict[str, Any] = {}
        for key, value in states[0]["model"].items():
            stacked = isinstance(value, Tensor)
            model[key] = torch.stack([s["model"][key] for s in states]) if stacked else value
        self.model.load_state_dict(model)
        self.optimizer.restore([state["optimizer"] for state in states])

    def step(self, index: Tensor) -> Tensor:
        """One update on the training pairs `index` (S, b); the sum of each cell's losses, (C,)."""
        drawn = self.model.draw(2 * index.shape[1])
        self.optimizer.advance()
        return self._update(index, drawn)

    def _updated(self, index: Tensor, drawn: Tensor) -> Tensor:
        """`step` as a function of its arguments and of tensors that stay in place."""
        # both images of a pair go through one pass, so that batch norm sees them together
        images = self.pairs.gather(2, index.unsqueeze(1).expand(-1, 2, -1)).flatten(1)
        reward = self.model(self._images(images), drawn)
        first, second = reward.chunk(2, dim=1)
        own = index[self.seed_of_cell]
        columns = (self.label, self.weight, self.probability)
        label, weight, probability = (
            None if column is None else column.gather(1, own) for column in columns
        )
        assert label is not None
        total, sums = self.objective(first, second, label, weight, probability)
        self.optimizer.update(total)
        return sums

    def _images(self, index: Tensor) -> Tensor:
        """Normalised images (S, n, H, W) of image numbers (S, n)."""
        shape = (*index.shape, *self.pixels.shape[1:])
        # selected as rows, which is ten times as fast as indexing images
        rows = self.pixels.flatten(1).index_select(0, index.flatten())
        return rows.to(self.dtype).view(shape).sub_(self.mean).div_(self.std)

    @torch.inference_mode()
    def _scored(self) -> list[Tensor]:
        """The rewards of the images that the splits of each seed use, in evaluation mode; for each
        seed (cells, images) float64. Rewards that are not finite end their cell and become 0."""
        self.model.eval()
        scored = [one.images for one in self.metrics]
        # seeds may use different numbers of images: repeat the last one to a common length, a
        # multiple of what a cache line holds, so that products round alike for every cell
        longest = -(-max(map(len, scored)) // 16) * 16
        index = np.stack([np.pad(s, (0, longest - len(s)), mode="edge") for s in scored])
        batches = torch.split(self._tensor(index), EVALUATION_IMAGES, 1)
        found = torch.cat([self.model(self._images(batch)) for batch in batches], 1).double()
        finite = torch.isfinite(found).all(1).cpu()
        for number in torch.nonzero(~finite).flatten().tolist():
            self._diverges(number, "rewards of {cell} are not finite")
            found[number] = 0
        parts = torch.split(found, self.cells_per_seed)
        return [part[:, : len(images)] for part, images in zip(parts, scored, strict=True)]

    def _gradients(self, scored: Sequence[Tensor]) -> list[dict[str, float | None]]:
        """Which training pairs of each cell the loss still learns from, and the norm of its mean
        gradient over the last steps, about ten."""
        sides = [m.of_training_pairs(r) for m, r in zip(self.metrics, scored, strict=True)]
        first, second, label = (torch.cat(parts) for parts in zip(*sides, strict=True))
        slopes = self.objective.slopes(first, second, label).cpu().numpy()
        norms = self.optimizer.mean_norms().tolist()
        return [
            {
                **{f"train/{name}": value for name, value in of_pairs.items()},
                "train/gradient_norm": norm,
            }
            for of_pairs, norm in zip(
                (
                    gradient_metrics(slope, cell.train.flipped)
                    for slope, cell in zip(slopes, self.cells, strict=True)
                ),
                norms,
                strict=True,
            )
        ]

    def rewards(self) -> list[np.ndarray]:
        """The reward of every image that a split uses, in evaluation mode; NaN elsewhere.

        One (N,) float64 array per cell, over all N images of the data set.
        """
        filled = []
        for metrics, part in zip(self.metrics, self._scored(), strict=True):
            for reward in part.cpu().numpy():
                values = np.full(len(self.pixels), np.nan)
                values[metrics.images] = reward
                filled.append(values)
        return filled

    @torch.inference_mode()
    def rewards_of(self, images: np.ndarray, cell: int) -> np.ndarray:
        """One cell's rewards of any images (n, H, W), in evaluation mode; (n,) float64."""
        self.model.eval()
        rows = self._tensor(images).to(self.dtype).expand(len(self.seeds), *images.shape)
        parts = torch.split((rows - self.mean) / self.std, EVALUATION_IMAGES, 1)
        found = torch.cat([self.model(part)[cell] for part in parts])
        return found.double().cpu().numpy()

    def evaluate(self) -> list[Evaluation]:
        """Each cell's metrics on its train, validation and test splits; none if it diverged."""
        found: list[Evaluation] = []
        last = self.epoch == self.schedule.epochs
        by_seed, test = (self.last_metrics, self.last_test) if last else (self.metrics, self.test)
        scored = self._scored()
        gradients = iter(self._gradients(scored))
        for stacked, rewards in zip(by_seed, scored, strict=True):
            for metrics, right in zip(*stacked(rewards), strict=True):
                metrics |= next(gradients)
                if last and self.schedule.last_test_batch:
                    metrics["test/final_reward_correct"] = 2 * float(right.mean())
                outcomes = {"test/order_accuracy": test[len(found)].pack(right)}
                found.append(Evaluation(metrics, outcomes))
        for number in self.diverged:
            found[number] = Evaluation({}, {})
        return found


def _of_cell(value: Any, number: int) -> Any:
    # a copy, since a view would be saved with all that it is a view of
    return value[number].clone() if isinstance(value, Tensor) else value


def _last_test_batch(draw: ImagePreferences, batch_size: int) -> ImagePreferences:
    whole = (len(draw.test) - 1) // batch_size * batch_size
    return replace(draw, test=draw.test.since(whole))


def _test_pairs(draw: ImagePreferences) -> Scored:
    # two pairs that share an image are correlated
    return Scored(draw.test.ids, np.stack([draw.test.first, draw.test.second], 1))
