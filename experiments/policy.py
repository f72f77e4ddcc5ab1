"""The job that trains policies on noisy preference pairs."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from experiments.cells import Cell
from experiments.listener import Listener
from experiments.preference_job import Metrics, PreferenceJob, Run, check_lengths
from experiments.preference_stages import (
    SPLITS,
    FineTuning,
    Reference,
    Shared,
    drawing,
    tell_account,
)
from sympo import seeding
from sympo.disk import write_atomically
from sympo.evaluation.policy import implicit_metrics, mean_metrics, wins
from sympo.evaluation.rewards import agreement, gaps
from sympo.margins import BaseMargin
from sympo.models.texts.packed_rows import PackedRows
from sympo.outcomes import Scored, prompt_keys
from sympo.sampling.responses import Responses
from sympo.sampling.settings import Sampling
from sympo.types import BadInput, Evaluation


@dataclass(frozen=True, kw_only=True)
class PolicyJob(PreferenceJob):
    """Fine-tune, score and sample the reference, train on noisy pairs, sample and compare.

    margin: from log-probabilities to implicit rewards. sft, sampling: how the reference is made,
        and how policies answer. save_policy: in the hub's format, in the cell's folder.
    """

    margin: BaseMargin
    sft: FineTuning
    sampling: Sampling
    save_policy: bool

    headlines: ClassVar = ("policy/win_rate", "test/implicit_accuracy")
    leaves_samples: ClassVar = True

    def check(self, cell: Cell) -> None:
        """Refuse what cannot run; raises BadInput."""
        if not hasattr(cell.dataset, "preferences"):
            raise BadInput(
                f"dataset={cell.name.dataset} has no prompts and answers, which job=policy needs"
            )
        if not cell.model.answers:
            raise BadInput(
                f"model={cell.name.model} gives no answers; job=policy needs tiny_lm or hub"
            )
        if cell.loss.average_log_ratio and not self.margin.average_log_ratio:
            raise BadInput(
                f"loss={cell.name.loss} takes the difference of log-ratios per token: add "
                "job/margin=ipo"
            )
        cell.sampler.check(cell.device)
        self.check_parts(cell)
        sampled = cell.dataset.max_prompt_length + self.sampling.max_new_tokens + 1
        check_lengths(
            cell,
            cell.model,
            f"model={cell.name.model}",
            {
                "dataset.max_length": cell.dataset.max_length,
                "dataset.max_prompt_length + job.sampling.max_new_tokens + 1": sampled,
            },
        )

    def shared(self, cell: Cell, listener: Listener) -> Shared:
        """The stages that the cell shares with others."""
        reference = Reference(
            model=cell.model,
            sft=self.sft,
            sampling=self.sampling,
            precision=self.precision,
            gradient_checkpointing=self.gradient_checkpointing,
            tokens_per_pass=self.tokens_per_pass,
            attention=self.attention,
            compile=self.compile,
        )
        job = cell.config["job"]
        settings = {"model": cell.config["model"], "sft": job["sft"], "sampling": job["sampling"]}
        return Shared(cell, reference, settings, listener.note, listener.status)

    def train(self, cells: Sequence[Cell], listener: Listener) -> None:
        """Train cells one after the other, from their last checkpoint where there is one."""
        for place, cell in enumerate(cells):
            run = _Run(cell, self, listener, place)
            with drawing(cell.device, cell.name.seed, "training"):
                run.train()


class _Run(Run):
    """One cell from the shared stages to its last evaluation."""

    def __init__(self, cell: Cell, job: PolicyJob, listener: Listener, place: int) -> None:
        self.policy_job, self.seed = job, cell.name.seed
        self.shared = shared = job.shared(cell, listener)
        self.data, rows = shared.preferences(), shared.rows()
        tell_account(cell, self.data.account, listener.note)
        reference_logps = {} if job.margin.reference_free else shared.reference_logps()
        self.reference_answers = shared.reference_answers()
        self.reference = shared.reference()
        self.prompts = self.data.test.prompts[: job.sampling.prompts]
        self.answers = self.reference_answers
        ids, keys = (
            self.data.test.pairs.ids,
            prompt_keys(p.tolist() for p in self.data.test.prompts),
        )
        self.cluster = np.unique(keys, return_inverse=True)[1]
        sampled = len(self.prompts)
        # the test pairs, and the prompts that are answered
        self.scored, self.sampled = Scored(ids, keys), Scored(ids[:sampled], keys[:sampled])
        for scored in (self.scored, self.sampled):
            cell.folder.keep_test_set(scored.test_set)
        model = cell.model.adapt(cell.model.load(shared.reference_folder()), self.seed)
        self.policy = shared.source.policy(model, cell.dataset.max_length, cell.device)
        pairs = {name: getattr(self.data, name).pairs for name in SPLITS}
        super().__init__(
            cell, job, listener, place, pairs, rows, self.policy, job.margin, reference_logps
        )

    def on_test(self, rewards: np.ndarray) -> Evaluation:
        pairs = self.data.test.pairs
        return Evaluation(
            dict(implicit_metrics(rewards, pairs, self.cluster)),
            {"implicit_accuracy": self.scored.pack(agreement(gaps(rewards, pairs), pairs.label))},
        )

    def beside(self) -> Evaluation:
        self.answers = self._answers("answers")
        return self._on_answers(self.answers)

    def keep(self, which: str) -> None:
        self._write_answers(which, self.answers)

    def save(self) -> None:
        if self.policy_job.save_policy:
            self.policy.use_default_attention()
            self.policy.model.save_pretrained(self.cell.folder.unfinished / "policy")

    def _answers(self, name: str, **distribution: float) -> Responses:
        # the draws are the same at every evaluation, for every loss and noise rate
        seed = seeding.derive(self.seed, "policy", name)
        return self.cell.sampler.sample(
            self.policy,
            self.prompts,
            self.shared.vocabulary,
            self.policy_job.sampling,
            seed,
            **distribution,
        )

    def _on_answers(self, answers: Responses) -> Evaluation:
        reference, gold = self.reference_answers, self.cell.dataset.gold_reward
        found: Metrics = {
            "policy/length": float(answers.lengths.mean()),
            "policy/truncated": float(answers.truncated.mean()),
            "reference/length": float(reference.lengths.mean()),
            **self._divergence(answers),
        }
        outcomes = {}
        if gold is not None:
            own = gold(self.prompts, answers.ids)
            theirs = gold(self.prompts, reference.ids)
            starts = self.data.test.chosen.start
            chosen = gold(
                self.prompts,
                [ids[starts[i] :] for i, ids in enumerate(self.data.test.chosen.ids)][: len(own)],
            )
            for name, other in (("win_rate", theirs), ("win_rate_chosen", chosen)):
                won = wins(own, other)
                found |= mean_metrics(f"policy/{name}", won, self.seed)
                outcomes[f"policy/{name}"] = self.sampled.pack(won)
            found["policy/tie_rate"] = float((own == theirs).mean())
            found |= mean_metrics("policy/gold_reward", own, self.seed)
            found["reference/gold_reward"] = float(theirs.mean())
        return Evaluation(found, outcomes)

    def _divergence(self, answers: Responses) -> Metrics:
        """KL(policy || reference), estimated by the mean of log pi - log pi_ref on answers from
        the policy's own distribution, which is the only unbiased one."""
        if not self.policy_job.sampling.exact:
            answers = self._answers("exact answers", temperature=1.0, top_p=1.0)
        rows = PackedRows(answers.after(self.prompts))
        own, reference = (
            policy.score(rows, self.job.tokens_per_pass)[:, 0]
            for policy in (self.policy, self.reference)
        )
        ratio = own - reference
        error = float(ratio.std(ddof=1) / math.sqrt(len(ratio))) if len(ratio) > 1 else None
        return {"policy/kl": float(ratio.mean()), "policy/kl_se": error}

    def _write_answers(self, which: str, answers: Responses) -> None:
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
