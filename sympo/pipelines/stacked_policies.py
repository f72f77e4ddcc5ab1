"""Trains the small policies of one seed together, from the shared stages to the last evaluation."""

import copy
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sympo.models.texts.row_grids import RowTable
from sympo.pipelines.pair_files import SPLITS
from sympo.pipelines.policy_runs import PolicyInputs, PolicyRun
from sympo.pipelines.progress import note_once
from sympo.protocols.jobs import Listener
from sympo.runs import checkpoints
from sympo.runs.stopping import checkpoint_due, stop_if_asked
from sympo.training.stacked_policies import StackedPreferenceTrainer, score


def train_together(runs: Sequence[PolicyRun], inputs: PolicyInputs, listener: Listener) -> None:
    """Train policies from their last checkpoints; those at the same step are trained together."""
    states = [
        checkpoints.load(run.cell.folder, StackedPreferenceTrainer, listener.note) for run in runs
    ]
    steps = [0 if state is None else state["trainer"]["done"] for state in states]
    tables = {name: RowTable(inputs.rows[name], *inputs.shared.stacked_on) for name in SPLITS}
    for done in sorted(set(steps)):
        places = [place for place, step in enumerate(steps) if step == done]
        _Pass(
            [runs[place] for place in places], [states[place] for place in places],
            inputs, tables, listener,
        ).train()  # fmt: skip


class StackedPolicy:
    """One of the policies that are trained together, a `TrainedScorer`."""

    def __init__(self, together: "_Pass", cell: int) -> None:
        self._pass, self.cell = together, cell

    @cached_property
    def model(self) -> Any:
        """A `transformers` model with a copy of the weights."""
        # not loaded from the reference's folder, which may be gone and would be made again
        made = copy.deepcopy(self._pass.template)
        self._pass.trainer.model.write(self.cell, made)
        return made

    def save(self, folder: Path) -> None:
        """Write it to a folder in the hub's format."""
        self._pass.trainer.model.write(self.cell, self._pass.template)
        self._pass.template.save_pretrained(folder)

    def rewards(self, split: str) -> np.ndarray:
        scores = score(self._pass.trainer.model, self._pass.tables[split])
        return self._pass.runs[self.cell].rewards(split, scores[self.cell]).reshape(-1, 2)


class _Pass:
    """Trains policies that are at the same step, up to their last evaluation.

    states: the checkpoint of each, None if it has none. template: a `transformers` model to write
    weights to.
    """

    def __init__(
        self,
        runs: Sequence[PolicyRun],
        states: Sequence[Mapping[str, Any] | None],
        inputs: PolicyInputs,
        tables: Mapping[str, RowTable],
        listener: Listener,
    ) -> None:
        self.runs, self.inputs, self.tables, self.listener = runs, inputs, tables, listener
        self.job, one, shared = runs[0].job, runs[0].cell, inputs.shared
        self.template = shared.source.model.load(shared.reference_folder())
        self.trainer = StackedPreferenceTrainer(
            shared.stacked_reference(len(runs)),
            tables["train"],
            inputs.rows["train"].lengths,
            np.stack([run.noisy["train"].trained_label for run in runs]),
            inputs.reference_logps.get("train"),
            runs[0].margin,
            [run.cell.loss for run in runs],
            self.job,
            one.name.seed,
            [run.noisy["train"].weight for run in runs],
            [run.noisy["train"].probability for run in runs],
        )
        self.scorers = [StackedPolicy(self, cell) for cell in range(len(runs))]
        self.saved = time.monotonic()
        self.kept = [state for state in states if state is not None]

    @property
    def epoch(self) -> float:
        return self.trainer.done / self.trainer.steps_per_epoch

    def train(self) -> None:
        if note := self.job.slow_start(self.trainer.labels.shape[1]):
            self.listener.note(note)
        note_once(self.trainer.model.advice, self.listener.note)
        if self.kept:
            self.trainer.restore([state["trainer"] for state in self.kept])
            self.listener.resumed(self.epoch)
            for run, state in zip(self.runs, self.kept, strict=True):
                run.restore(state)
        else:
            self.listener.step(self.epoch)  # training begins
            self._evaluate()
        self.trainer.train(self._after_step)
        self._fail_diverged()
        for cell, run in self._left():
            run.save(self.scorers[cell])
            self.listener.trained(run.place, self.scorers[cell])

    def _left(self) -> list[tuple[int, PolicyRun]]:
        """The policies that have not diverged, with their numbers."""
        return [
            (cell, run) for cell, run in enumerate(self.runs) if cell not in self.trainer.diverged
        ]

    def _fail_diverged(self) -> None:
        for cell, error in self.trainer.diverged.items():
            self.listener.failed(self.runs[cell].place, error)

    def _after_step(self, losses: np.ndarray) -> None:
        trainer = self.trainer
        self._fail_diverged()
        for cell, run in self._left():
            run.losses.append(float(losses[cell]))
        if self.runs[0].due(trainer.done, trainer.steps, trainer.steps_per_epoch):
            self._evaluate()
        self.listener.step(self.epoch)
        if checkpoint_due(self.saved, 60 * self.job.checkpoint_minutes):
            states = trainer.state()
            for cell, run in self._left():
                state = {"trainer": states[cell], **run.state()}
                checkpoints.save(state, run.cell.folder, StackedPreferenceTrainer)
            self.saved = time.monotonic()
            stop_if_asked()

    def _evaluate(self) -> None:
        model = self.trainer.model
        scores = {
            name: score(model, self.tables[name], pairs)
            for name, pairs in self.runs[0].counted.items()
        }
        own = [
            {name: of_all[cell] for name, of_all in scores.items()}
            for cell in range(len(self.runs))
        ]
        for cell, run in self._left():
            if (error := run.diverged(self.trainer.done, own[cell])) is not None:
                self.trainer.diverged[cell] = error
        self._fail_diverged()
        if not self._left():
            return
        beside = self.inputs.responses.of_cells(model)
        for cell, run in self._left():
            run.drawn, found = beside[cell]
            run.evaluate(self.epoch, own[cell], found, self.scorers[cell])
