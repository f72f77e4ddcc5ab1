"""Shared code of the jobs that train on pairs of texts: settings, checkpoints, evaluations."""

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
from sympo.models.texts.shared_prefix_attention import ATTENTION
from sympo.noise import flip
from sympo.objective import Objective
from sympo.pipelines.cell import Cell
from sympo.process import quiet_transformers
from sympo.protocols.jobs import Listener
from sympo.protocols.models import Margin, Scorer, Splittable
from sympo.ranges import Count, NotNegative, Positive, TokensPerPass
from sympo.runs import checkpoints
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.training.pass_memory import scoring_tokens, training_tokens
from sympo.training.passes import Passes
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
    """Settings of any training on pairs of responses.

    evaluate_every: epochs between evaluations, possibly a fraction; evaluations before training and
        after the last step are always made.
    precision: of the matrix products, float32 or bfloat16; weights are float32 in both.
    tokens_per_pass: tokens per forward and backward pass; the gradients of a step are accumulated.
        `auto`: as many as fit a GPU's memory; 4096 on a CPU.
    attention: how packed rows attend, `grouped`, or `auto`: in one variable-length call on CUDA in
        bfloat16, grouped elsewhere.
    compile: whether to torch.compile the model's layers.
    checkpoint_minutes: minutes between checkpoints, the most work that a kill may cost.
    evaluated_train_pairs: how many training pairs the memorised share is measured on.
    """

    evaluate_every: Positive = 0.25
    precision: str = "float32"
    gradient_checkpointing: bool = False
    tokens_per_pass: TokensPerPass = "auto"
    attention: str = "auto"
    compile: bool = False
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
    together: ClassVar[bool] = False  # one model per cell, trained one after another

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in AUTOCAST:
            raise BadArgument(
                "precision", self.precision, f"is not known: use one of {', '.join(AUTOCAST)}"
            )
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
        # pairs exist only after the shared stages: a stand-in shows whether they can be flipped
        gap = None if cell.dataset.gold_reward is None else np.ones(1)
        score_gap = np.ones(1) if cell.dataset.scored else None
        one = chosen_over_rejected(np.zeros(1, np.uint64), gap, score_gap)
        flip(cell.noise_model, cell.name.noise, one, cell.name.seed)


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
    """Runs one cell from its pairs, or its last checkpoint, to its last evaluation.

    pairs, rows: by split. reference: scores of the reference policy by split; empty if the margin
    does not need them.
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
        if scorer.note:
            listener.note(scorer.note)
        self.trainer = PreferenceTrainer(
            scorer,
            rows["train"],
            self.noisy["train"].noisy_label,
            reference.get("train"),
            Objective(margin, cell.loss),
            job,
            cell.name.seed,
            training_tokens(
                job.tokens_per_pass, scorer, rows["train"], job.batch_size, listener.note
            ),
            listener.note,
        )
        longest = max(int(own.tokens.max()) for own in rows.values())
        tokens = scoring_tokens(job.tokens_per_pass, scorer.device)
        self.scoring = Passes(tokens, longest, scorer.device, listener.note)
        self.evaluations: list[tuple[float, Evaluation]] = []
        self.losses: list[float] = []
        self.saved = time.monotonic()

    @abstractmethod
    def on_test(self, rewards: np.ndarray) -> Evaluation:
        """Evaluate rewards (2n,), item by item, on the test split."""

    @abstractmethod
    def save(self) -> None:
        """Save the trained model, if the job asks for it."""

    @abstractmethod
    def keep(self, which: str) -> None:
        """Write the outputs of this evaluation; which: `last` or `selected`."""

    def beside(self) -> Evaluation:
        """Evaluate on data other than pairs; empty by default."""
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
        """Rewards of the responses in a split's first pairs (None: all), item by item; (2n,)."""
        rows = self.rows[name]
        scores = self.scoring.run(lambda tokens: self.scorer.score(rows, tokens, pairs))
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
    """A trained policy or reward model of texts, a `TrainedScorer`."""

    def __init__(self, run: Run) -> None:
        self.scorer, self._run = run.scorer, run

    @property
    def model(self) -> Any:
        return self.scorer.model

    def rewards(self, split: str) -> np.ndarray:
        return self._run.rewards(split).reshape(-1, 2)


@lru_cache(maxsize=8)
def check_model(model: Any) -> None:
    """Check a model once for all cells of a sweep, because checking builds it (without weights)."""
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
