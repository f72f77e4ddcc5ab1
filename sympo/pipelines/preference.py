"""Shared code of the jobs that train on pairs of texts: settings, checkpoints, evaluations."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from sympo.distributed import processes
from sympo.evaluation.flips import split_margins
from sympo.evaluation.gradients import gradient_metrics
from sympo.evaluation.rewards import gaps, label_metrics
from sympo.models.texts.scorers import AUTOCAST
from sympo.models.texts.shared_prefix_attention import ATTENTION
from sympo.noise import flip
from sympo.objective import Objective
from sympo.pipelines import compiling
from sympo.pipelines.cell import Cell
from sympo.pipelines.compiling import Compile
from sympo.pipelines.suspects import write_suspects
from sympo.process import quiet_transformers
from sympo.protocols.jobs import Listener
from sympo.protocols.models import Margin, Scorer, Splittable
from sympo.ranges import Count, NotNegative, Positive, TokensPerPass
from sympo.runs import checkpoints
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.training.pass_memory import training_tokens
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
# the losses since the last evaluation, and the evaluations by epoch
Record = tuple[list[float], list[tuple[float, Evaluation]]]


@dataclass(frozen=True, kw_only=True)
class PreferenceJob(Recipe):
    """Settings of any training on pairs of responses.

    evaluate_every: epochs between evaluations, possibly a fraction; evaluations before training and
        after the last step are always made.
    precision: of the matrix products, float32 or bfloat16; weights are float32 in both.
    tokens_per_pass: tokens per forward and backward pass; the gradients of a step are accumulated.
        `auto`: as many as fit a GPU's memory; 4096 on a CPU.
    attention: how packed rows attend, `grouped`, or `auto`: in one variable-length call on CUDA in
        bfloat16, grouped elsewhere.
    compile: whether to torch.compile the model's layers; auto: on CUDA, if that pays off.
    checkpoint_minutes: minutes between checkpoints, the most work that a kill may cost.
    evaluated_train_pairs: how many training pairs are evaluated: for the memorised share, the
        detection of flips, and `suspects.csv`.
    """

    evaluate_every: Positive = 0.25
    precision: str = "float32"
    gradient_checkpointing: bool = False
    tokens_per_pass: TokensPerPass = "auto"
    attention: str = "auto"
    compile: Compile = "auto"
    checkpoint_minutes: NotNegative = 10
    evaluated_train_pairs: Count = 1024

    selected_by: ClassVar[str] = "validation/noisy_accuracy"
    # how passes are computed, what is saved, and how often
    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {
            *("tokens_per_pass", "checkpoint_minutes", "gradient_checkpointing"),
            *("attention", "compile", "save_policy", "save_model"),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in AUTOCAST:
            raise BadArgument(
                "precision", self.precision, f"is not known: use one of {', '.join(AUTOCAST)}"
            )
        compiling.check(self.compile)
        if self.attention == "flex":
            raise BadArgument("attention", "flex", "was removed: use attention=auto")
        if self.attention not in ATTENTION:
            raise BadArgument(
                "attention", self.attention, f"is not known: use one of {', '.join(ATTENTION)}"
            )

    def check_parts(self, cell: Cell) -> None:
        """Refuse a model or a noise model that cannot work; raises BadInput."""
        quiet_transformers()
        with within("model"):
            check_model(cell.model)
        # pairs exist only after the shared stages: stand-ins show whether they can be flipped
        gap = None if cell.dataset.gold_reward is None else np.ones(2)
        score_gap = np.ones(2) if cell.dataset.scored else None
        disputed = np.ones(2, bool) if cell.dataset.twice_judged else None
        ids = np.arange(2, dtype=np.uint64)
        source = annotator = None
        if not cell.dataset.from_policy:
            released = cell.dataset.splits["train"].preferences
            source, annotator = released.source, released.annotator
        two = replace(
            chosen_over_rejected(ids, gap, score_gap, disputed),
            length_gap=np.array([1, -1]),
            source=_keys(cell.dataset.sourced, source),
            annotator=_keys(cell.dataset.annotated, annotator),
        )
        flip(cell.noise_model, cell.name.noise, two, cell.name.seed)


def _keys(known: bool, column: np.ndarray | None) -> np.ndarray | None:
    """The keys of two stand-ins, equal if all pairs share one; None if the pairs have no keys.

    column: of the pairs, None if they do not exist yet.
    """
    if not known:
        return None
    keys = np.arange(2, dtype=np.uint64) if column is None else np.unique(column)
    return np.resize(keys[:2], 2)


def check_lengths(cell: Cell, model: Any, called: str, lengths: Mapping[str, int]) -> None:
    """Refuse a tokenizer that does not fit the model or cannot encode pairs, and sequences longer
    than the model's context; raises BadInput.

    called: the name of the model in messages. lengths: in tokens, by setting.
    """
    ids, positions = model.sizes()
    needed = cell.dataset.vocabulary(model.tokenizer()).size
    with within("dataset"):
        cell.dataset.check_tokenizer(model.tokenizer())
    if ids is not None and needed > ids:
        raise BadInput(
            f"{called} has {ids} token ids, but its tokenizer has {needed}: they do not belong "
            "together"
        )
    for what, length in lengths.items():
        if positions is not None and length > positions:
            raise BadInput(f"{what}={length} exceeds the {positions} positions of {called}")


class Run(ABC):
    """One cell's evaluations, from its pairs to what its folder keeps, however it is trained.

    pairs: by split; lengths: (n, 2) scored tokens of the responses, by split. reference: scores of
    the reference policy by split; empty if the margin does not need them. fixed: what all
    evaluations have in common.
    """

    fixed = Evaluation({}, {})

    def __init__(
        self,
        cell: Cell,
        job: PreferenceJob,
        listener: Listener,
        place: int,
        pairs: Mapping[str, PreferencePairs],
        lengths: Mapping[str, np.ndarray],
        margin: Margin,
        reference: Mapping[str, np.ndarray],
    ) -> None:
        self.cell, self.job, self.listener, self.place = cell, job, listener, place
        self.pairs, self.lengths = pairs, lengths
        self.margin, self.reference_scores = margin, reference
        self.noisy = {
            name: flip(cell.noise_model, cell.name.noise, pairs[name], cell.name.seed)
            for name in ("train", "validation")
        }
        self.evaluations: list[tuple[float, Evaluation]] = []
        self.losses: list[float] = []

    @abstractmethod
    def on_test(self, rewards: np.ndarray, scores: np.ndarray) -> Evaluation:
        """Evaluate rewards (2n,), item by item, and the scores (n, 2) behind them on the test
        split."""

    @abstractmethod
    def save(self, scorer: Any) -> None:
        """Save the trained model, if the job asks for it."""

    @abstractmethod
    def keep(self, which: str, scorer: Any) -> None:
        """Write the outputs of this evaluation; which: `last` or `selected`."""

    def beside(self, scorer: Any) -> Evaluation:
        """Evaluate on data other than pairs; empty by default."""
        return Evaluation({}, {})

    @property
    def counted(self) -> Mapping[str, int | None]:
        """How many of a split's first pairs an evaluation scores; None for all."""
        return {"test": None, "validation": None, "train": self.job.evaluated_train_pairs}

    def rewards(self, name: str, scores: np.ndarray) -> np.ndarray:
        """Rewards of the responses in a split's first pairs, item by item; (n, 2) -> (2n,)."""
        parts = (
            None if part is None else torch.from_numpy(part[: len(scores)])
            for part in (scores, self.reference_scores.get(name), self.lengths[name])
        )
        return self.margin.rewards(*parts).numpy().ravel()  # type: ignore[arg-type]

    def trainer(
        self, rows: Splittable, scorer: Scorer, objective: Objective, recipe: Recipe, seed: int
    ) -> PreferenceTrainer:
        """A trainer of a scorer on the training pairs, with their labels and weights as they are
        now."""
        job, note, train = self.job, self.listener.note, self.noisy["train"]
        return PreferenceTrainer(
            scorer,
            rows,
            train.trained_label,
            self.reference_scores.get("train"),
            objective,
            recipe,
            seed,
            training_tokens(job.tokens_per_pass, scorer, rows, job.batch_size, note),
            note,
            train.weight,
            train.probability,
        )

    def diverged(self, step: int, scores: Mapping[str, np.ndarray]) -> Diverged | None:
        """The error if an evaluation's scores are not all finite, else None."""
        if all(np.isfinite(own).all() for own in scores.values()):
            return None
        advice = "; a lower learning rate may help" if step else ""
        return Diverged(f"scores of {self.cell.loss} after step {step} are not finite{advice}")

    def due(self, done: int, steps: int, per_epoch: int) -> bool:
        """Whether an evaluation follows after so many steps: after those nearest to whole multiples
        of `evaluate_every`, and after the last."""
        every = self.job.evaluate_every
        number = round(done / per_epoch / every)
        return bool(number and max(1, round(number * every * per_epoch)) == done) or done == steps

    def evaluate(
        self, epoch: float, scores: Mapping[str, np.ndarray], beside: Evaluation, scorer: Any
    ) -> None:
        """Record an evaluation, and keep its outputs; scores: (n, 2) by split, of `counted`
        pairs."""
        rewards = {name: self.rewards(name, own) for name, own in scores.items()}
        train = self.noisy["train"].head(len(scores["train"]))
        pairs = self._on_pairs(rewards, scores["test"], train)
        loss = {"train/loss": float(np.mean(self.losses)) if self.losses else None}
        parts = (pairs, beside, self.fixed, Evaluation(loss, {}))
        found = Evaluation(
            {name: value for part in parts for name, value in part.metrics.items()},
            {name: packed for part in parts for name, packed in part.outcomes.items()},
        )
        self.losses = []
        best = max((self._accuracy(one) for _, one in self.evaluations), default=-math.inf)
        self.evaluations.append((epoch, found))
        self.keep("last", scorer)
        if self._accuracy(found) > best:
            self.keep("selected", scorer)
        if epoch == self.job.epochs and processes.first():
            self._keep_suspects(rewards["train"], train)
        self.listener.evaluation(self.place, epoch, found)

    @property
    def record(self) -> Record:
        """What a checkpoint keeps beside the state of a trainer, as it is now."""
        return [*self.losses], [*self.evaluations]

    def state(self, record: Record | None = None) -> dict[str, Any]:
        """A record, by default as it is now, in the form that a checkpoint keeps."""
        losses, evaluations = record or self.record
        kept = checkpoints.kept(evaluations, self.job.selected_by)
        return {"losses": losses, "evaluations": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a `state`."""
        self.losses = state["losses"]
        self.evaluations = [(epoch, Evaluation(*found)) for epoch, *found in state["evaluations"]]
        for epoch, found in self.evaluations:
            self.listener.evaluation(self.place, epoch, found)

    def _keep_suspects(self, rewards: np.ndarray, train: NoisyPairs) -> None:
        source: dict[str, list[str]] = {}
        if not self.cell.dataset.from_policy:
            places = self.cell.dataset.splits["train"].places
            source["row"] = [places.get(number, "") for number in train.pairs.ids.tolist()]
        write_suspects(self.cell.folder.unfinished, train, gaps(rewards, train.pairs), source)

    def _on_pairs(
        self, rewards: Mapping[str, np.ndarray], scores: np.ndarray, train: NoisyPairs
    ) -> Evaluation:
        test = self.on_test(rewards["test"], scores)
        margin = gaps(rewards["train"], train.pairs) * train.noisy_label
        slopes = gradient_metrics(self._slopes(rewards["train"], train), train.flipped)
        found: dict[str, Mapping[str, float | None]] = {
            "test": test.metrics,
            "validation": label_metrics(rewards["validation"], self.noisy["validation"]),
            "train": label_metrics(rewards["train"], train)
            | split_margins(margin, train.flipped)
            | slopes,
        }
        return Evaluation(
            {f"{split}/{name}": part[name] for split, part in found.items() for name in part},
            {f"test/{name}": packed for name, packed in test.outcomes.items()},
        )

    def _slopes(self, rewards: np.ndarray, train: NoisyPairs) -> np.ndarray:
        """|l'(z)| of every training pair; (n,)."""
        objective = Objective(self.margin, self.cell.loss)
        first, second = (rewards[side] for side in (train.pairs.first, train.pairs.second))
        z = objective.z(*map(torch.from_numpy, (first, second, train.noisy_label)))
        found: np.ndarray = objective.slopes(z).numpy()
        return found

    def _accuracy(self, found: Evaluation) -> float:
        value = found.metrics[self.job.selected_by]
        assert value is not None
        return value


@lru_cache(maxsize=8)
def check_model(model: Any) -> None:
    """Check a model once for all cells of a sweep, because checking builds it (without weights)."""
    model.check()
