"""What jobs that train a scorer on noisy pairs share: settings, checkpoints, evaluations."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from sympo.evaluation.rewards import label_metrics
from sympo.models.texts.scorers import AUTOCAST
from sympo.models.texts.shared_prefix_attention import LAYOUTS
from sympo.noise import flip
from sympo.objective import Objective
from sympo.pipelines.cell import Cell
from sympo.process import quiet_transformers
from sympo.protocols.jobs import Listener
from sympo.protocols.models import Margin, Scorer, Splittable
from sympo.ranges import Count, NotNegative, Positive
from sympo.runs import checkpoints
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import (
    BadArgument,
    BadInput,
    Evaluation,
    NoisyPairs,
    PreferencePairs,
    chosen_over_rejected,
    within,
)

Metrics = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class PreferenceJob(Recipe):
    """Settings of any training on pairs of answers.

    evaluate_every: epochs between evaluations, which may be a fraction; before training and after
        the last step there is one always.
    precision: float32 or bfloat16, of the matrix products; weights are float32 in both.
    tokens_per_pass: tokens that go through the model at a time; gradients of a step add up.
    attention: how packed rows attend, `grouped` or `flex` (CUDA only); compile: whether the model's
        layers go through torch.compile.
    checkpoint_minutes: how much work a kill may cost.
    evaluated_train_pairs: of which the memorised share is measured.
    """

    evaluate_every: Positive = 0.25
    precision: str = "float32"
    gradient_checkpointing: bool = False
    tokens_per_pass: Count = 4096
    attention: str = "grouped"
    compile: bool = False
    checkpoint_minutes: NotNegative = 10
    evaluated_train_pairs: Count = 1024

    selected_by: ClassVar[str] = "validation/noisy_accuracy"
    # how a pass is computed, what is kept, and how often
    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {
            *("tokens_per_pass", "checkpoint_minutes", "gradient_checkpointing"),
            *("attention", "compile", "save_policy", "save_model"),
        }
    )
    together: ClassVar[bool] = False  # a model each, trained one after the other

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in AUTOCAST:
            raise BadArgument(
                "precision", self.precision, f"is not known: use one of {', '.join(AUTOCAST)}"
            )
        if self.attention not in LAYOUTS:
            raise BadArgument(
                "attention", self.attention, f"is not known: use one of {', '.join(LAYOUTS)}"
            )

    def check_parts(self, cell: Cell) -> None:
        """Refuse models and noise that cannot work; raises BadInput."""
        quiet_transformers()
        with within("model"):
            check_model(cell.model)
        if self.attention == "flex" and cell.device == "cpu":
            raise BadArgument("attention", "flex", "trains on CUDA only: use attention=grouped")
        # pairs are there only after the shared stages; one like them tells what can be flipped
        gap = None if cell.dataset.gold_reward is None else np.ones(1)
        score_gap = np.ones(1) if cell.dataset.scored else None
        one = chosen_over_rejected(np.zeros(1, np.uint64), gap, score_gap)
        flip(cell.noise_model, cell.name.noise, one, cell.name.seed)


def check_lengths(cell: Cell, model: Any, called: str, lengths: Mapping[str, int]) -> None:
    """Refuse a tokenizer that is not the model's or can write no pair, and sequences longer than
    the model knows.

    called: what to call the model; lengths: in tokens, of each setting.
    """
    ids, positions = model.sizes()
    needed = cell.dataset.vocabulary(model.tokenizer()).size
    with within("dataset"):
        cell.dataset.check_tokenizer(model.tokenizer())
    if ids is not None and needed > ids:
        raise BadInput(
            f"{called} knows {ids} token ids and its tokenizer has {needed}: they do not belong "
            "together"
        )
    for what, length in lengths.items():
        if positions is not None and length > positions:
            raise BadInput(
                f"{what}={length} is more than the {positions} positions that {called} knows"
            )


class Run(ABC):
    """One cell from its pairs to its last evaluation, from its last checkpoint where there is one.

    pairs, rows: of each split. reference: scores of the reference policy, of each split, where the
    margin needs them.
    """

    def __init__(
        self,
        cell: Cell,
        job: PreferenceJob,
        listener: Listener,
        place: int,
        pairs: Mapping[str, PreferencePairs],
        rows: Mapping[str, Splittable],
        scorer: Scorer,
        margin: Margin,
        reference: Mapping[str, np.ndarray],
    ) -> None:
        self.cell, self.job, self.listener, self.place = cell, job, listener, place
        self.pairs, self.rows, self.scorer = pairs, rows, scorer
        self.margin, self.reference_scores = margin, reference
        self.noisy = {
            name: flip(cell.noise_model, cell.name.noise, pairs[name], cell.name.seed)
            for name in ("train", "validation")
        }
        if not scorer.exact:
            listener.note("this model cannot share prefixes: each answer gets a row of its own")
        self.trainer = PreferenceTrainer(
            scorer,
            rows["train"],
            self.noisy["train"].noisy_label,
            reference.get("train"),
            Objective(margin, cell.loss),
            job,
            cell.name.seed,
            job.tokens_per_pass,
        )
        self.evaluations: list[tuple[float, Evaluation]] = []
        self.losses: list[float] = []
        self.saved = time.monotonic()

    @abstractmethod
    def on_test(self, rewards: np.ndarray) -> Evaluation:
        """What rewards (2n,), item by item, say of the test split."""

    @abstractmethod
    def save(self) -> None:
        """Leave the trained model, where the job asks for it."""

    @abstractmethod
    def keep(self, which: str) -> None:
        """Write what belongs to this evaluation; which: `last` or `selected`."""

    def beside(self) -> Evaluation:
        """What is found on something else than pairs."""
        return Evaluation({}, {})

    @property
    def epoch(self) -> float:
        return self.trainer.done / self.trainer.steps_per_epoch

    def train(self) -> None:
        if note := self.job.slow_start(len(self.rows["train"])):
            self.listener.note(note)
        if (state := checkpoints.load(self.cell.folder, self.listener.note)) is not None:
            self._restore(state)
        else:
            self._evaluate()
        self.trainer.train(self._after_step)
        self.save()
        self.listener.trained(self.place, PreferenceScorer(self))

    def rewards(self, name: str, pairs: int | None = None) -> np.ndarray:
        """Rewards of the answers of a split's first pairs, item by item; (2n,)."""
        rows = self.rows[name]
        scores = self.scorer.score(rows, self.job.tokens_per_pass, pairs)
        parts = (
            None if part is None else torch.from_numpy(part[:pairs])
            for part in (scores, self.reference_scores.get(name), rows.lengths)
        )
        return self.margin.rewards(*parts).numpy().ravel()  # type: ignore[arg-type]

    def _after_step(self, loss: float) -> None:
        self.losses.append(loss)
        every, per_epoch = self.job.evaluate_every, self.trainer.steps_per_epoch
        # the steps nearest to whole multiples of evaluate_every
        number = round(self.epoch / every)
        due = number and max(1, round(number * every * per_epoch)) == self.trainer.done
        if due or self.trainer.done == self.trainer.steps:
            self._evaluate()
        self.listener.step(self.epoch)
        if time.monotonic() - self.saved >= 60 * self.job.checkpoint_minutes:
            self._save()

    def _save(self) -> None:
        state = {"trainer": self.trainer.state(), "losses": self.losses}
        evaluations = checkpoints.kept(self.evaluations, self.job.selected_by)
        checkpoints.save(state | {"evaluations": evaluations}, self.cell.folder)
        self.saved = time.monotonic()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.trainer.restore(state["trainer"])
        self.losses = state["losses"]
        self.evaluations = [(epoch, Evaluation(*found)) for epoch, *found in state["evaluations"]]
        self.listener.resumed(self.epoch)
        for epoch, found in self.evaluations:
            self.listener.evaluation(self.place, epoch, found)

    def _evaluate(self) -> None:
        pairs, beside = self._on_pairs(), self.beside()
        loss = {"train/loss": float(np.mean(self.losses)) if self.losses else None}
        found = Evaluation(pairs.metrics | beside.metrics | loss, pairs.outcomes | beside.outcomes)
        self.losses = []
        best = max((self._accuracy(one) for _, one in self.evaluations), default=-math.inf)
        self.evaluations.append((self.epoch, found))
        self.keep("last")
        if self._accuracy(found) > best:
            self.keep("selected")
        self.listener.evaluation(self.place, self.epoch, found)

    def _on_pairs(self) -> Evaluation:
        few = self.job.evaluated_train_pairs
        train = _first(self.noisy["train"], few)
        test = self.on_test(self.rewards("test"))
        found: dict[str, Mapping[str, float | None]] = {
            "test": test.metrics,
            "validation": label_metrics(self.rewards("validation"), self.noisy["validation"]),
            "train": label_metrics(self.rewards("train", few), train),
        }
        return Evaluation(
            {f"{split}/{name}": part[name] for split, part in found.items() for name in part},
            {f"test/{name}": packed for name, packed in test.outcomes.items()},
        )

    def _accuracy(self, found: Evaluation) -> float:
        value = found.metrics[self.job.selected_by]
        assert value is not None
        return value


class PreferenceScorer:
    """A trained policy or reward model of texts; a `TrainedScorer`."""

    def __init__(self, run: Run) -> None:
        self.scorer, self._run = run.scorer, run

    @property
    def model(self) -> Any:
        return self.scorer.model

    def rewards(self, split: str) -> np.ndarray:
        return self._run.rewards(split).reshape(-1, 2)


@lru_cache(maxsize=8)
def check_model(model: Any) -> None:
    """Check a model, once for all cells of a sweep: that builds it, though without weights."""
    model.check()


def _first(noisy: NoisyPairs, count: int) -> NoisyPairs:
    pairs = noisy.pairs
    kept = PreferencePairs(
        pairs.ids[:count],
        pairs.first[:count],
        pairs.second[:count],
        pairs.label[:count],
        None if pairs.gap is None else pairs.gap[:count],
        None if pairs.score_gap is None else pairs.score_gap[:count],
    )
    return NoisyPairs(kept, noisy.flipped[:count])
