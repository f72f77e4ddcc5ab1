"""The job that trains reward models of images on noisy preference pairs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from sympo.evaluation.convergence import convergence_metrics
from sympo.evaluation.rewards import gaps
from sympo.losses import Logistic
from sympo.losses.overflowing import overflowing
from sympo.noise import flip
from sympo.pipelines.cell import Cell, draw
from sympo.pipelines.cleaning import cleaned, cleaning_metrics
from sympo.pipelines.progress import note_once
from sympo.pipelines.suspects import write_suspects
from sympo.protocols.jobs import Listener
from sympo.runs import checkpoints
from sympo.runs.stopping import checkpoint_due, stop_if_asked
from sympo.training.cleaning_models import StackedCleaningModels
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.types import BadInput, Evaluation, within

# the work that a kill may cost; much longer than saving takes
SECONDS_BETWEEN_CHECKPOINTS = 10
# starting a process takes as long as training on this many images
IMAGES_WORTH_A_PROCESS = 1_000_000


@dataclass(frozen=True)
class RewardModelJob(Schedule):
    """Draws pairs, flips labels, trains by the schedule, and evaluates against the true order.

    Two more faults of the authors' code. overflowing_losses: losses with exponentials are computed
    as written. zero_noise_fails: noise=0 is refused, since their script divides by the number of
    flipped pairs.
    """

    identity: ClassVar[str] = "reward_model"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"zero_noise_fails"})

    overflowing_losses: bool = False
    zero_noise_fails: bool = False

    # progress shows the first headline; noisy validation selects an epoch by the other metric
    headlines: ClassVar[tuple[str, ...]] = ("test/order_accuracy",)
    selected_by: ClassVar[str] = "validation/noisy_accuracy"
    leaves_samples: ClassVar[bool] = False
    distributes: ClassVar[bool] = False

    def check(self, cell: Cell) -> None:
        """Refuse a cell that cannot run; raises BadInput."""
        if cell.loss.average_log_ratio:
            raise BadInput(f"loss={cell.name.loss} needs log-ratios per token: use job=policy")
        if cell.dataset.holds != "images":
            raise BadInput(
                f"dataset={cell.name.dataset} is not an image data set; a text data set must "
                "suggest what job=reward_model needs, see conf/dataset/hh.yaml"
            )
        if cell.model.reads != "images":
            raise BadInput(f"model={cell.name.model} is not an image model; use small_cnn or cnn")
        if self.zero_noise_fails and cell.name.noise == 0:
            raise BadInput(
                "noise=0 is not possible with job.zero_noise_fails=true, under which the protocol "
                "divides by the number of flipped pairs; use noise above 0 or protocol=corrected"
            )
        _reward_cell(cell)
        images = draw(cell.dataset, cell.name.seed).pixels
        with within("model"):
            cell.model.check((images.shape[1], images.shape[2]))

    def content(self) -> str | None:
        return None

    def lacks(self, cell: Cell) -> str:
        return ""  # image networks are not saved

    def trained_with(self, cell: Cell) -> str:
        # cells that share data set, model and schedule share every pass
        return ""

    def starts(self, cell: Cell) -> float:
        return float(2 * cell.dataset.train_pairs * self.epochs / IMAGES_WORTH_A_PROCESS)

    def bytes_per_cell(self, cell: Cell) -> int:
        """The peak GPU memory that each further cell adds to a batch, measured in a step and an
        evaluation with a new seed, the most expensive case."""
        peaks = []
        index = torch.arange(min(self.batch_size, cell.dataset.train_pairs), device=cell.device)
        for seeds in (1, 2):
            data = {seed: draw(cell.dataset, seed) for seed in range(seeds)}
            one = _reward_cell(cell)
            cells = [replace(one, seed=seed) for seed in data]
            trainer = CellTrainer(cells, data, cell.model, self, cell.device)
            torch.cuda.reset_peak_memory_stats(cell.device)
            trainer.step(index.repeat(seeds, 1))
            trainer.rewards()
            peaks.append(torch.cuda.max_memory_allocated(cell.device))
            del trainer
        return max(1, peaks[1] - peaks[0])

    def train(self, cells: Sequence[Cell], listener: Listener) -> None:
        """Train cells that share data set, model, schedule and device, from their last checkpoints;
        cells at the same epoch are trained together."""
        states = [checkpoints.load(cell.folder, CellTrainer, listener.note) for cell in cells]
        epochs = [0 if state is None else state["trainer"]["epoch"] for state in states]
        for epoch in sorted(set(epochs)):
            # cells of one seed are adjacent
            numbers = sorted(
                (n for n, done in enumerate(epochs) if done == epoch),
                key=lambda n: cells[n].name.seed,
            )
            _Pass(self, numbers, cells, states, listener).train()


class ImageScorer:
    """One cell's reward model, a `TrainedScorer`.

    model: the stacked networks of all cells that were trained together. place: the index of the
        cell's own network.
    """

    def __init__(self, trainer: CellTrainer, place: int) -> None:
        self.model, self.place, self._trainer = trainer.model, place, trainer

    def rewards(self, split: str) -> np.ndarray:
        pairs = getattr(self._trainer.data[self.place], split)
        found = self._trainer.rewards()[self.place]
        return np.stack([found[pairs.first], found[pairs.second]], 1)

    def rewards_of(self, images: np.ndarray) -> np.ndarray:
        """Rewards of images (n, H, W), in the data set's units; (n,) float64."""
        return self._trainer.rewards_of(images, self.place)


class _Pass:
    """Trains cells that are at the same epoch, up to their last evaluation.

    numbers: the indices of these cells. states: the checkpoint of each cell, None if it has none.
    """

    def __init__(
        self,
        job: RewardModelJob,
        numbers: Sequence[int],
        cells: Sequence[Cell],
        states: Sequence[Mapping[str, Any] | None],
        listener: Listener,
    ) -> None:
        self.numbers, self.cells, self.listener = numbers, [cells[n] for n in numbers], listener
        self.selected_by, self.epochs = job.selected_by, job.epochs
        self.trainer = _trainer(job, self.cells, lambda text: note_once(text, listener.note))
        self.evaluations: list[list[tuple[int, Evaluation]]] = [[] for _ in numbers]
        self.saved = time.monotonic()
        for scores in (self.trainer.test, self.trainer.last_test):
            for cell, scored in zip(self.cells, scores, strict=True):
                cell.folder.keep_test_set(scored.test_set)
        kept = [state for n in numbers if (state := states[n]) is not None]
        if kept:
            self.trainer.restore([state["trainer"] for state in kept])
            listener.resumed(self.trainer.epoch)
            for place, state in enumerate(kept):
                for epoch, metrics, outcomes in state["evaluations"]:
                    self._record(place, epoch, Evaluation(metrics, outcomes))

    def train(self) -> None:
        note_once(self.trainer.model.advice, self.listener.note)
        self.trainer.train(self._after_epoch)
        found = self.trainer.rewards()
        for place, number in enumerate(self.numbers):
            if place not in self.trainer.diverged:
                self._keep_suspects(place, found[place])
                self.listener.trained(number, ImageScorer(self.trainer, place))

    def _keep_suspects(self, place: int, rewards: np.ndarray) -> None:
        train = self.trainer.cells[place].train
        pairs = train.pairs
        images = {"first": pairs.first.tolist(), "second": pairs.second.tolist()}
        write_suspects(self.cells[place].folder.unfinished, train, gaps(rewards, pairs), images)

    def _record(self, place: int, epoch: int, found: Evaluation) -> None:
        self.evaluations[place].append((epoch, found))
        if epoch == self.epochs:
            found.metrics.update(self._convergence(place))
        self.listener.evaluation(self.numbers[place], epoch, found)

    def _convergence(self, place: int) -> dict[str, float]:
        name = "test/order_accuracy"
        accuracies = [found.metrics[name] or 0.0 for _, found in self.evaluations[place]]
        epochs = [epoch for epoch, _ in self.evaluations[place]]
        found = convergence_metrics(epochs, accuracies)
        return {f"test/{name}": value for name, value in found.items()}

    def _after_epoch(self, epoch: int, found: list[Evaluation] | None) -> None:
        diverged = self.trainer.diverged
        for place, error in diverged.items():
            self.listener.failed(self.numbers[place], error)
        for place, one in enumerate(found or ()):
            if place not in diverged:
                one.metrics.update(cleaning_metrics(self.trainer.cells[place].train))
                self._record(place, epoch, one)
        if checkpoint_due(self.saved, SECONDS_BETWEEN_CHECKPOINTS):
            self._save()
            stop_if_asked()
        self.listener.step(epoch)

    def _save(self) -> None:
        for place, state in enumerate(self.trainer.state()):
            if place not in self.trainer.diverged:
                evaluations = checkpoints.kept(self.evaluations[place], self.selected_by)
                kept = {"trainer": state, "evaluations": evaluations}
                checkpoints.save(kept, self.cells[place].folder, CellTrainer)
        self.saved = time.monotonic()


def _trainer(
    job: RewardModelJob, cells: Sequence[Cell], note: Callable[[str], None]
) -> CellTrainer:
    return CellTrainer(
        [_cleaned(job, cell, note) for cell in cells],
        {cell.name.seed: draw(cell.dataset, cell.name.seed) for cell in cells},
        cells[0].model,
        job,
        cells[0].device,
        note,
    )


def _cleaned(job: RewardModelJob, cell: Cell, note: Callable[[str], None]) -> RewardCell:
    """The cell after its filter, if it has one."""
    one = _reward_cell(cell)

    def models(seeds: Sequence[int], epochs: int) -> StackedCleaningModels:
        data = draw(cell.dataset, cell.name.seed)
        return StackedCleaningModels(
            data, one.train, one.validation, cell.model, Logistic(), job, seeds, cell.device, note
        )

    return replace(one, train=cleaned(cell, one.train, models, note))


def _reward_cell(cell: Cell) -> RewardCell:
    data, noise, seed = draw(cell.dataset, cell.name.seed), cell.name.noise, cell.name.seed
    return RewardCell(
        seed=seed,
        loss=overflowing(cell.loss) if cell.job.overflowing_losses else cell.loss,
        train=flip(cell.noise_model, noise, data.train, seed),
        validation=flip(cell.noise_model, noise, data.validation, seed),
    )
