"""Draws a policy's responses, compares them with the reference's and keeps them for judges."""

import json
import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sympo import seeding
from sympo.disk import write_atomically
from sympo.distributed import processes
from sympo.evaluation.policy_metrics import mean_metrics, wins
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.outcomes import Scored, prompt_keys
from sympo.pipelines.cell import Cell
from sympo.pipelines.shared_stages import Shared
from sympo.sampling import Responses, Sampling
from sympo.sampling.stacked import Drawn, sample_stacked
from sympo.training.stacked_policies import score
from sympo.types import Evaluation

if TYPE_CHECKING:
    from sympo.pipelines.policy import PolicyJob

Metrics = dict[str, float | None]


class ResponseEvaluation:
    """Draws and evaluates responses to the first prompts of the test split, for cells of one seed.

    reference: the responses of the reference policy, a shared stage.
    """

    def __init__(self, cell: Cell, job: "PolicyJob", shared: Shared) -> None:
        self.job, self.shared, self.seed = job, shared, cell.name.seed
        self.dataset, self.sampler = cell.dataset, cell.sampler
        self.test = shared.preferences().test
        self.prompts = self.test.prompts[: job.sampling.prompts]
        alone = job.trained_with(cell) is None
        if alone and (note := cell.sampler.note(cell.device, len(self.prompts), job.sampling)):
            shared.stages.note(note)
        self.reference = shared.reference_answers()
        keys = prompt_keys(prompt.tolist() for prompt in self.prompts)
        self.scored = Scored(self.test.pairs.ids[: len(self.prompts)], keys)
        # of the responses that the policies' are compared with, by the true reward
        self._chosen, self._reference = self._rewards_compared()

    def of(self, policy: Policy) -> tuple[Responses, Evaluation]:
        """Draw and evaluate a policy's responses."""
        drawn = self._draw(policy, "answers")
        # the mean is unbiased only on responses from the policy's own distribution
        own = drawn
        if not self.job.sampling.exact:
            own = self._draw(policy, "exact answers", temperature=1.0, top_p=1.0)
        rows = PackedRows(own.after(self.prompts))
        mine, theirs = (
            self.shared.scored(scorer, rows)[:, 0] for scorer in (policy, self.reference_policy)
        )
        return drawn, self.evaluation(drawn, own, mine, theirs)

    def of_cells(self, model: StackedLlama) -> list[tuple[Responses, Evaluation]]:
        """`of` for policies that are trained together."""
        drawn = own = self._draw_together(model, "answers", self.job.sampling)
        if not self.job.sampling.exact:
            exact = replace(self.job.sampling, temperature=1.0, top_p=1.0)
            own = self._draw_together(model, "exact answers", exact)
        found = []
        for one, free in zip(drawn, own, strict=True):
            # cell by cell, because a score is rounded as the rows around it demand
            rows = PackedRows(free.responses.after(self.prompts))
            theirs = score(self._stacked_reference, RowTable(rows, *self.shared.stacked_on))
            measured = self.evaluation(one.responses, free.responses, free.logps, theirs[0, :, 0])
            found.append((one.responses, measured))
        return found

    def evaluation(
        self, drawn: Responses, own: Responses, mine: np.ndarray, theirs: np.ndarray
    ) -> Evaluation:
        """Evaluate a policy's responses.

        Win rates compare them with the reference's and the chosen responses by the true reward, if
        the data set has one. On responses from the policy's own distribution, KL(policy ||
        reference) is the mean of log pi - log pi_ref, and entropy the sum of -log pi by the number
        of tokens.

        own: responses from the policy's own distribution. mine, theirs: (n,), their log pi and
            log pi_ref.
        """
        log_ratio = mine - theirs
        n = len(log_ratio)
        error = float(log_ratio.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        found: Metrics = {
            "policy/length": float(drawn.lengths.mean()),
            "policy/truncated": float(drawn.truncated.mean()),
            "reference/length": float(self.reference.lengths.mean()),
            "policy/kl": float(log_ratio.mean()),
            "policy/kl_se": error,
            "policy/entropy": float(-mine.sum() / own.lengths.sum()),
        }
        compared = self._compared(drawn)
        return Evaluation(found | compared.metrics, compared.outcomes)

    def write(self, folder: Path, which: str, drawn: Responses) -> None:
        """Write everything that judging the responses needs to `samples/<which>.jsonl` in a run
        folder."""
        if not processes.first():
            return
        decode, tokenizer = self.dataset.text, self.shared.tokenizer
        lines = [
            {
                **line,
                "policy": decode(drawn.ids[i], tokenizer),
                "reference": reference,
                "policy_truncated": bool(drawn.truncated[i]),
                "reference_truncated": bool(self.reference.truncated[i]),
            }
            for i, (line, reference) in enumerate(self._lines)
        ]
        (folder / "samples").mkdir(exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(folder / "samples" / f"{which}.jsonl", text)

    @cached_property
    def reference_policy(self) -> Policy:
        return self.shared.reference()

    @cached_property
    def _stacked_reference(self) -> StackedLlama:
        return self.shared.stacked_reference(1)

    @cached_property
    def _lines(self) -> list[tuple[dict[str, Any], str]]:
        """What is written beside each response of a policy, and the reference's response."""
        decode, tokenizer = self.dataset.text, self.shared.tokenizer
        return [
            ({"id": int(self.test.pairs.ids[i]), **self.test.texts[i]}, decode(ids, tokenizer))
            for i, ids in enumerate(self.reference.ids)
        ]

    def _draw(self, policy: Policy, name: str, **distribution: float) -> Responses:
        drawn: Responses = self.sampler.sample(
            policy, self.prompts, self.shared.vocabulary, self.job.sampling, self._seed(name),
            **distribution,
        )  # fmt: skip
        return drawn

    def _draw_together(self, model: StackedLlama, name: str, sampling: Sampling) -> list[Drawn]:
        return sample_stacked(
            model, self.prompts, self.shared.vocabulary, sampling, self._seed(name)
        )

    def _seed(self, name: str) -> int:
        # the draws are the same at every evaluation, for every loss and noise rate
        return seeding.derive(self.seed, "policy", name)

    def _rewards_compared(self) -> tuple[np.ndarray, np.ndarray]:
        """True rewards of the chosen and the reference's responses; empty if there are none."""
        gold = self.dataset.gold_reward
        if gold is None:
            return np.empty(0), np.empty(0)
        chosen = self.test.chosen
        ids = [ids[chosen.start[i] :] for i, ids in enumerate(chosen.ids)][: len(self.prompts)]
        return gold(self.prompts, ids), gold(self.prompts, self.reference.ids)

    def _compared(self, drawn: Responses) -> Evaluation:
        """Win rates and rewards by the true reward; empty if the data set has none."""
        gold = self.dataset.gold_reward
        if gold is None:
            return Evaluation({}, {})
        found: Metrics = {}
        outcomes = {}
        own = gold(self.prompts, drawn.ids)
        for name, other in (("win_rate", self._reference), ("win_rate_chosen", self._chosen)):
            won = wins(own, other)
            found |= mean_metrics(f"policy/{name}", won, self.seed)
            outcomes[f"policy/{name}"] = self.scored.pack(won)
        found["policy/tie_rate"] = float((own == self._reference).mean())
        found |= mean_metrics("policy/gold_reward", own, self.seed)
        found |= mean_metrics("policy/gold_gain", own - self._reference, self.seed)
        found["reference/gold_reward"] = float(self._reference.mean())
        return Evaluation(found, outcomes)
