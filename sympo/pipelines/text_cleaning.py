"""The filter of a cell of texts, and the policies or reward models that it asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sympo import seeding
from sympo.evaluation.rewards import gaps
from sympo.losses import Logistic
from sympo.objective import Objective
from sympo.pipelines.cleaning import cleaned, cleaning_metrics
from sympo.pipelines.preference import Run
from sympo.pipelines.shared_stages import drawing
from sympo.protocols.models import Scorer, Splittable
from sympo.training.pass_memory import scoring_tokens
from sympo.training.passes import Passes
from sympo.types import Evaluation, NoisyPairs


def clean(run: Run, rows: Mapping[str, Splittable], scorer: Callable[[int], Scorer]) -> None:
    """Clean the training pairs of a cell by its filter, if it has one.

    rows: of each split. scorer: makes an untrained policy or reward model from a seed.
    """
    cell, noisy = run.cell, run.noisy["train"]
    if cell.filter is None:
        return

    def models(seeds: Sequence[int], epochs: int) -> TextCleaningModels:
        return TextCleaningModels(run, rows, [scorer(seed) for seed in seeds], seeds, epochs)

    with drawing(cell.device, seeding.derive(cell.name.seed, "filter"), "training"):
        run.noisy["train"] = cleaned(cell, noisy, models, run.listener.note)
    found = cleaning_metrics(run.noisy["train"])
    run.fixed = Evaluation({**run.fixed.metrics, **found}, run.fixed.outcomes)


class TextCleaningModels:
    """Policies or reward models of texts, `CleaningModels`, trained one after another; all of them
    are in memory."""

    def __init__(
        self,
        run: Run,
        rows: Mapping[str, Splittable],
        scorers: Sequence[Scorer],
        seeds: Sequence[int],
        epochs: int,
    ) -> None:
        self.run, self.rows = run, rows
        recipe = replace(run.job, epochs=epochs)
        objective = Objective(run.margin, Logistic())
        self.trainers = [
            run.trainer(rows["train"], scorer, objective, recipe, seed)
            for scorer, seed in zip(scorers, seeds, strict=True)
        ]
        longest = max(int(own.tokens.max()) for own in rows.values())
        device = scorers[0].device
        tokens = scoring_tokens(run.job.tokens_per_pass, device)
        self.scoring = Passes(tokens, longest, device, run.listener.note)

    def train_epoch(
        self, weight: np.ndarray | None = None, probability: np.ndarray | None = None
    ) -> None:
        for number, trainer in enumerate(self.trainers):
            if weight is not None:
                trainer.weigh(weight[number])
            if probability is not None:
                trainer.soften(probability[number])
            done = trainer.done / trainer.steps_per_epoch
            self.run.listener.status(f"filter: model {number + 1}, epoch {done + 1:.0f}")
            trainer.train(lambda loss: None, trainer.steps_per_epoch)

    def margins(self) -> np.ndarray:
        return self._margins("train", self.run.noisy["train"])

    def validation_margins(self) -> np.ndarray:
        return self._margins("validation", self.run.noisy["validation"])

    def _margins(self, name: str, noisy: NoisyPairs) -> np.ndarray:
        rewards = [self.run.rewards(name, self._scores(one.scorer, name)) for one in self.trainers]
        return np.stack([gaps(own, noisy.pairs) * noisy.noisy_label for own in rewards])

    def _scores(self, scorer: Scorer, name: str) -> np.ndarray:
        rows = self.rows[name]
        return self.scoring.run(lambda tokens: scorer.score(rows, tokens))
