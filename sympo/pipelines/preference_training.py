"""Training of one cell on pairs of texts, from its last checkpoint to its last evaluation."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from sympo.distributed import watch
from sympo.objective import Objective
from sympo.pipelines import compiling
from sympo.pipelines.preference import Run
from sympo.pipelines.training_checkpoints import OneFile, PartsByProcess, TrainingCheckpoints
from sympo.protocols.models import Scorer, Splittable
from sympo.runs.stopping import checkpoint_due, stop_if_asked
from sympo.training.pass_memory import scoring_tokens
from sympo.training.passes import Passes

# that the main thread may take from an update of the weights to the record of its loss
SECONDS_TO_SETTLE = 5.0


class Training:
    """Trains the scorer of one cell to its last evaluation, from its last checkpoint if any."""

    def __init__(self, run: Run, rows: Mapping[str, Splittable], scorer: Scorer) -> None:
        self.run, self.rows, self.scorer = run, rows, scorer
        self.listener, self.job = run.listener, run.job
        trained = rows["train"].tokens
        compiled = compiling.compile_layers(
            run.job.compile,
            scorer,
            run.job.precision,
            tokens=run.job.epochs * int(trained.sum()),
            longest=int(trained.max()),
        )
        for line in filter(None, (scorer.note, compiled)):
            self.listener.note(line)
        objective = Objective(run.margin, run.cell.loss)
        self.trainer = run.trainer(rows["train"], scorer, objective, run.job, run.cell.name.seed)
        kind = PartsByProcess if scorer.divided else OneFile
        self.checkpoints: TrainingCheckpoints = kind(run, self.trainer)
        longest = max(int(own.tokens.max()) for own in rows.values())
        tokens = scoring_tokens(run.job.tokens_per_pass, scorer.device)
        self.scoring = Passes(
            tokens, longest, scorer.device, run.listener.note, divided=scorer.divided
        )
        self.saved = time.monotonic()

    @property
    def epoch(self) -> float:
        return self.trainer.done / self.trainer.steps_per_epoch

    def train(self) -> None:
        run = self.run
        if note := self.job.slow_start(len(self.rows["train"])):
            self.listener.note(note)
        state = self.checkpoints.restore(self.listener.note)
        if state is not None:
            self.listener.resumed(self.epoch)
            run.restore(state)
            if self._is_due() and run.evaluations[-1][0] != self.epoch:  # stopped before it
                self._evaluate()
        else:
            self.listener.step(self.epoch)  # training begins
            self._evaluate()
        self._settle()
        with nullcontext() if self.scorer.divided else watch.saved_by(self._rescue):
            self.trainer.train(self._after_step)
        run.save(self.scorer)
        self.listener.trained(run.place, PreferenceScorer(self))

    def score(self, name: str, pairs: int | None = None) -> np.ndarray:
        """Scores of the responses in a split's first pairs (None: all); (n, 2)."""
        rows = self.rows[name]
        return self.scoring.run(lambda tokens: self.scorer.score(rows, tokens, pairs))

    def _after_step(self, loss: float) -> None:
        self.run.losses.append(loss)
        self._settle()
        if self._is_due():
            self._evaluate()
            self._settle()
        self.listener.step(self.epoch)
        late = checkpoint_due(self.saved, 60 * self.job.checkpoint_minutes)
        if self.checkpoints.takes_part(late):
            with self.trainer.changing:
                self.checkpoints.save()
            self.saved = time.monotonic()
            stop_if_asked()

    def _is_due(self) -> bool:
        trainer = self.trainer
        return self.run.due(trainer.done, trainer.steps, trainer.steps_per_epoch)

    def _settle(self) -> None:
        """Let the work up to here be what `_rescue` saves."""
        self.settled = self.trainer.done, self.run.record

    def _rescue(self) -> str:
        """Save a checkpoint after the last whole step, from another thread; returns what to report,
        empty if it cannot."""
        trainer, until = self.trainer, time.monotonic() + SECONDS_TO_SETTLE
        while time.monotonic() < until:
            with trainer.changing:
                done, record = self.settled
                if trainer.done == done and not trainer.torn:
                    with trainer.readable():
                        self.checkpoints.save(record)
                    return f"saved a checkpoint at epoch {self.epoch:.3g}"
            time.sleep(0.05)
        return ""

    def _evaluate(self) -> None:
        scores = {name: self.score(name, pairs) for name, pairs in self.run.counted.items()}
        if (error := self.run.diverged(self.trainer.done, scores)) is not None:
            raise error
        self.run.evaluate(self.epoch, scores, self.run.beside(self.scorer), self.scorer)


class PreferenceScorer:
    """A trained policy or reward model of texts, a `TrainedScorer`."""

    def __init__(self, training: Training) -> None:
        self.scorer, self._training = training.scorer, training

    @property
    def model(self) -> Any:
        return self.scorer.model

    def rewards(self, split: str) -> np.ndarray:
        scores = self._training.score(split)
        return self._training.run.rewards(split, scores).reshape(-1, 2)
