"""The job that trains policies on noisy preference pairs."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from experiments.cells import Cell
from experiments.listener import Listener
from experiments.policy_stages import Shared, drawing
from sympo import seeding
from sympo.evaluation.policy import implicit_metrics, mean_metrics, win_metrics
from sympo.evaluation.rewards import label_metrics
from sympo.margins import Margin
from sympo.models.causal import AUTOCAST, Policy
from sympo.models.language import LanguageModel
from sympo.models.rows import Rows
from sympo.models.sampling import Answers, Sampling, sample
from sympo.noise import flip
from sympo.records import write_atomically
from sympo.training.optimizer import Recipe
from sympo.training.preference import Objective, PreferenceTrainer
from sympo.types import BadInput, NoisyPairs, PreferencePairs, chosen_over_rejected

Metrics = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class FineTuning(Recipe):
    """Supervised fine-tuning, the same for every cell; 0 epochs take the model as it is."""

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PolicyJob(Recipe):
    """Fine-tune, score and sample the reference, train on noisy pairs, sample and compare.

    margin: from log-probabilities to implicit rewards. evaluate_every: epochs between evaluations,
        which may be a fraction; before training and after the last step there is one always.
    precision: float32 or bfloat16, of the matrix products; weights are float32 in both.
    tokens_per_pass: tokens that go through the model at a time; gradients of a step add up.
    checkpoint_minutes: how much work a kill may cost.
    evaluated_train_pairs: of which the memorised share is measured; save_policy: in the hub's
        format, in the cell's folder.
    """

    margin: Margin
    sft: FineTuning
    sampling: Sampling
    evaluate_every: float
    precision: str
    gradient_checkpointing: bool
    tokens_per_pass: int
    checkpoint_minutes: float
    evaluated_train_pairs: int
    save_policy: bool

    headlines: ClassVar = ("policy/win_rate", "test/implicit_accuracy")
    selected_by: ClassVar = "validation/noisy_accuracy"

    def __post_init__(self) -> None:
        self.validate("job", fewest_epochs=1)
        self.sft.validate("job.sft", fewest_epochs=0)
        if not self.evaluate_every > 0:
            raise BadInput(f"job.evaluate_every={self.evaluate_every} must be above 0")
        if self.precision not in AUTOCAST:
            raise BadInput(
                f"job.precision={self.precision} is not known: use one of {', '.join(AUTOCAST)}"
            )
        for key in ("tokens_per_pass", "evaluated_train_pairs"):
            if getattr(self, key) < 1:
                raise BadInput(f"job.{key}={getattr(self, key)} must be at least 1")
        if not self.checkpoint_minutes >= 0:
            raise BadInput(f"job.checkpoint_minutes={self.checkpoint_minutes} must be at least 0")
        if self.sft.seed < 0:
            raise BadInput(f"job.sft.seed={self.sft.seed} must be at least 0")

    def check(self, cell: Cell) -> None:
        """Refuse what cannot run; raises BadInput."""
        if not hasattr(cell.dataset, "preferences"):
            raise BadInput(
                f"dataset={cell.name.dataset} has no prompts and answers, which job=policy needs"
            )
        if not isinstance(cell.model, LanguageModel):
            raise BadInput(
                f"model={cell.name.model} is no language model; job=policy needs tiny_lm or hub"
            )
        if cell.loss.average_log_ratio and not self.margin.average_log_ratio:
            raise BadInput(
                f"loss={cell.name.loss} takes the difference of log-ratios per token: add "
                "job/margin=ipo"
            )
        _quieten_transformers()
        _check_model(cell.model)
        self._check_sizes(cell)
        self._check_noise(cell)

    def _check_noise(self, cell: Cell) -> None:
        # pairs are there only after the shared stages; one like them tells what can be flipped
        gap = None if cell.dataset.gold_reward is None else np.ones(1)
        one = chosen_over_rejected(np.zeros(1, np.uint64), gap)
        flip(cell.noise_model, cell.name.noise, one, cell.name.seed)

    def _check_sizes(self, cell: Cell) -> None:
        ids, positions = cell.model.sizes()
        needed = cell.dataset.vocabulary(cell.model.tokenizer()).size
        if ids is not None and needed > ids:
            raise BadInput(
                f"model={cell.name.model} knows {ids} token ids and its tokenizer has {needed}: "
                "they do not belong together"
            )
        sampled = cell.dataset.max_prompt_length + self.sampling.max_new_tokens + 1
        for what, length in (
            ("dataset.max_length", cell.dataset.max_length),
            ("dataset.max_prompt_length + job.sampling.max_new_tokens + 1", sampled),
        ):
            if positions is not None and length > positions:
                raise BadInput(
                    f"{what}={length} is more than the {positions} positions that "
                    f"model={cell.name.model} knows"
                )

    def policy(self, model: Any, longest: int, device: str) -> Policy:
        """A model as a policy on a device, for sequences of at most `longest` tokens."""
        if self.gradient_checkpointing:
            # the old name of it before transformers 5.2x, where the new one is not there
            enable = getattr(model, "activation_checkpointing_enable", None)
            (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        return Policy(model.to(device), self.precision, longest)

    def train(self, cells: Sequence[Cell], listener: Listener) -> None:
        """Train cells one after the other, from their last checkpoint where there is one."""
        for place, cell in enumerate(cells):
            run = _Run(cell, self, listener, place)
            with drawing(cell.device, run.seed, "training"):
                run.train()


class _Run:
    """One cell from the shared stages to its last evaluation."""

    def __init__(self, cell: Cell, job: PolicyJob, listener: Listener, place: int) -> None:
        self.cell, self.job, self.listener, self.place = cell, job, listener, place
        self.shared = shared = Shared(cell, listener.note, listener.status)
        self.seed = cell.name.seed
        self.data, self.rows = shared.preferences(), shared.rows()
        self.noisy = {
            name: flip(cell.noise_model, cell.name.noise, getattr(self.data, name).pairs, self.seed)
            for name in ("train", "validation")
        }
        free = job.margin.reference_free
        self.reference_logps = {} if free else shared.reference_logps()
        self.reference_answers = shared.reference_answers()
        self.reference = shared.reference()
        self.prompts = self.data.test.prompts[: job.sampling.prompts]
        model = cell.model.adapt(cell.model.load(shared.reference_folder()), self.seed)
        self.policy = job.policy(model, cell.dataset.max_length, cell.device)
        if not self.policy.exact:
            listener.note("this model cannot share prefixes: each answer gets a row of its own")
        self.trainer = PreferenceTrainer(
            self.policy,
            self.rows["train"],
            self.noisy["train"].noisy_label,
            self.reference_logps.get("train"),
            Objective(job.margin, cell.loss),
            job,
            self.seed,
            job.tokens_per_pass,
        )
        self.evaluations: list[Metrics] = []
        self.losses: list[float] = []
        self.checkpoint = Path(cell.folder.checkpoint)
        self.saved = time.monotonic()

    @property
    def epoch(self) -> float:
        return self.trainer.done / self.trainer.steps_per_epoch

    def train(self) -> None:
        if note := self.job.slow_start(len(self.rows["train"])):
            self.listener.note(note)
        if self.checkpoint.is_file():
            self._restore()
        else:
            self._evaluate()
        self.trainer.train(self._after_step)
        if self.job.save_policy:
            self.policy.use_default_attention()
            self.policy.model.save_pretrained(self.cell.folder.unfinished / "policy")

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
        temporary = self.checkpoint.with_suffix(".new")
        torch.save(state | {"evaluations": self.evaluations}, temporary)
        temporary.replace(self.checkpoint)
        self.saved = time.monotonic()

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.trainer.restore(state["trainer"])
        self.losses, self.evaluations = state["losses"], state["evaluations"]
        self.listener.note(f"goes on from epoch {self.epoch:.3g}, {self.checkpoint}")
        for metrics in self.evaluations:
            self._tell(metrics)

    def _tell(self, metrics: Metrics) -> None:
        found = dict(metrics)
        epoch = found.pop("epoch")
        assert epoch is not None
        self.listener.evaluation(self.place, epoch, found)

    def _evaluate(self) -> None:
        answers = self._answers("answers")
        metrics: Metrics = {"epoch": self.epoch, **self._on_pairs(), **self._on_answers(answers)}
        metrics["train/loss"] = float(np.mean(self.losses)) if self.losses else None
        self.losses = []
        best = max((_accuracy(found) for found in self.evaluations), default=-math.inf)
        self.evaluations.append(metrics)
        self._write_answers("last", answers)
        if _accuracy(metrics) > best:
            self._write_answers("selected", answers)
        self._tell(metrics)

    def _rewards(self, name: str, pairs: int | None = None) -> np.ndarray:
        """Implicit rewards of the answers of a split's first pairs, item by item; (2n,)."""
        rows = self.rows[name]
        logps = self.policy.score(rows, self.job.tokens_per_pass, pairs)
        parts = (
            None if part is None else torch.from_numpy(part[:pairs])
            for part in (logps, self.reference_logps.get(name), rows.lengths)
        )
        return self.job.margin.rewards(*parts).numpy().ravel()  # type: ignore[arg-type]

    def _on_pairs(self) -> Metrics:
        few = self.job.evaluated_train_pairs
        train = _first(self.noisy["train"], few)
        found: dict[str, Mapping[str, float | None]] = {
            "test": implicit_metrics(self._rewards("test"), self.data.test.pairs),
            "validation": label_metrics(self._rewards("validation"), self.noisy["validation"]),
            "train": label_metrics(self._rewards("train", few), train),
        }
        return {f"{split}/{name}": part[name] for split, part in found.items() for name in part}

    def _answers(self, name: str, **distribution: float) -> Answers:
        # the draws are the same at every evaluation, for every loss and noise rate
        seed = seeding.derive(self.seed, "policy", name)
        return sample(
            self.policy,
            self.prompts,
            self.shared.vocabulary,
            self.job.sampling,
            seed,
            **distribution,
        )

    def _on_answers(self, answers: Answers) -> Metrics:
        reference, gold = self.reference_answers, self.cell.dataset.gold_reward
        found: Metrics = {
            "policy/length": float(answers.lengths.mean()),
            "policy/truncated": float(answers.truncated.mean()),
            "reference/length": float(reference.lengths.mean()),
            **self._divergence(answers),
        }
        if gold is not None:
            own = gold(self.prompts, answers.ids)
            theirs = gold(self.prompts, reference.ids)
            starts = self.data.test.chosen.start
            chosen = gold(
                self.prompts,
                [ids[starts[i] :] for i, ids in enumerate(self.data.test.chosen.ids)][: len(own)],
            )
            found |= win_metrics("policy/win_rate", own, theirs, self.seed)
            found |= win_metrics("policy/win_rate_chosen", own, chosen, self.seed)
            found["policy/tie_rate"] = float((own == theirs).mean())
            found |= mean_metrics("policy/gold_reward", own, self.seed)
            found["reference/gold_reward"] = float(theirs.mean())
        return found

    def _divergence(self, answers: Answers) -> Metrics:
        """KL(policy || reference), estimated by the mean of log pi - log pi_ref on answers from
        the policy's own distribution, which is the only unbiased one."""
        if not self.job.sampling.exact:
            answers = self._answers("exact answers", temperature=1.0, top_p=1.0)
        rows = Rows(answers.after(self.prompts))
        own, reference = (
            policy.score(rows, self.job.tokens_per_pass)[:, 0]
            for policy in (self.policy, self.reference)
        )
        ratio = own - reference
        error = float(ratio.std(ddof=1) / math.sqrt(len(ratio))) if len(ratio) > 1 else None
        return {"policy/kl": float(ratio.mean()), "policy/kl_se": error}

    def _write_answers(self, which: str, answers: Answers) -> None:
        """All that is needed to judge the answers again."""
        decode = self.cell.dataset.text
        ids = self.data.test.pairs.ids
        lines = [
            {
                "id": int(ids[i]),
                **self.data.test.texts[i],
                "policy": decode(answers.ids[i], self.shared.tokenizer),
                "reference": decode(self.reference_answers.ids[i], self.shared.tokenizer),
                "policy_truncated": bool(answers.truncated[i]),
                "reference_truncated": bool(self.reference_answers.truncated[i]),
            }
            for i in range(len(self.prompts))
        ]
        folder = self.cell.folder.unfinished / "samples"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(folder / f"{which}.jsonl", text)


@lru_cache(maxsize=8)
def _check_model(model: LanguageModel) -> None:
    # once for all cells of a sweep: it builds the model, though without weights
    model.check()


def _quieten_transformers() -> None:
    # its progress bars and advice go to the terminal, where the cell's own line lives; downloads,
    # which are over by now, keep theirs
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _accuracy(metrics: Metrics) -> float:
    value = metrics[PolicyJob.selected_by]
    assert value is not None
    return value


def _first(noisy: NoisyPairs, count: int) -> NoisyPairs:
    pairs = noisy.pairs
    gap = None if pairs.gap is None else pairs.gap[:count]
    kept = PreferencePairs(
        pairs.ids[:count], pairs.first[:count], pairs.second[:count], pairs.label[:count], gap
    )
    return NoisyPairs(kept, noisy.flipped[:count])
