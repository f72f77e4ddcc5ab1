"""Draws a policy's responses, compares them with the reference's and keeps them for judges."""

import json
import math
from typing import TYPE_CHECKING

from sympo import seeding
from sympo.disk import write_atomically
from sympo.evaluation.policy_metrics import mean_metrics, wins
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.outcomes import Scored, prompt_keys
from sympo.pipelines.cell import Cell
from sympo.pipelines.shared_stages import Shared
from sympo.sampling import Responses
from sympo.types import Evaluation

if TYPE_CHECKING:
    from sympo.pipelines.policy import PolicyJob

Metrics = dict[str, float | None]


class ResponseEvaluation:
    """Draws and evaluates responses to the first prompts of the test split.

    reference: the responses of the reference policy, a shared stage.
    """

    def __init__(self, cell: Cell, job: "PolicyJob", shared: Shared) -> None:
        self.cell, self.job, self.shared, self.seed = cell, job, shared, cell.name.seed
        self.test = shared.preferences().test
        self.prompts = self.test.prompts[: job.sampling.prompts]
        if note := cell.sampler.note(cell.device, len(self.prompts), job.sampling):
            shared.stages.note(note)
        self.reference = shared.reference_answers()
        self.reference_policy = shared.reference()
        keys = prompt_keys(prompt.tolist() for prompt in self.prompts)
        self.scored = Scored(self.test.pairs.ids[: len(self.prompts)], keys)
        cell.folder.keep_test_set(self.scored.test_set)

    def of(self, policy: Policy) -> tuple[Responses, Evaluation]:
        """Draw and evaluate a policy's responses.

        Win rates compare them with the reference's and the chosen responses by the true reward, if
        the data set has one. KL(policy || reference) is estimated on responses from the policy's
        own distribution.
        """
        drawn = self._draw(policy, "answers")
        found: Metrics = {
            "policy/length": float(drawn.lengths.mean()),
            "policy/truncated": float(drawn.truncated.mean()),
            "reference/length": float(self.reference.lengths.mean()),
            **self._divergence(policy, drawn),
        }
        compared = self._compared(drawn)
        return drawn, Evaluation(found | compared.metrics, compared.outcomes)

    def write(self, which: str, drawn: Responses) -> None:
        """Write everything that judging the responses needs to `samples/<which>.jsonl`."""
        decode, tokenizer = self.cell.dataset.text, self.shared.tokenizer
        lines = [
            {
                "id": int(self.test.pairs.ids[i]),
                **self.test.texts[i],
                "policy": decode(drawn.ids[i], tokenizer),
                "reference": decode(self.reference.ids[i], tokenizer),
                "policy_truncated": bool(drawn.truncated[i]),
                "reference_truncated": bool(self.reference.truncated[i]),
            }
            for i in range(len(self.prompts))
        ]
        folder = self.cell.folder.unfinished / "samples"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomically(folder / f"{which}.jsonl", text)

    def _draw(self, policy: Policy, name: str, **distribution: float) -> Responses:
        # the draws are the same at every evaluation, for every loss and noise rate
        seed = seeding.derive(self.seed, "policy", name)
        drawn: Responses = self.cell.sampler.sample(
            policy, self.prompts, self.shared.vocabulary, self.job.sampling, seed, **distribution
        )
        return drawn

    def _compared(self, drawn: Responses) -> Evaluation:
        """Win rates and rewards by the true reward; empty if the data set has none."""
        gold = self.cell.dataset.gold_reward
        if gold is None:
            return Evaluation({}, {})
        found: Metrics = {}
        outcomes = {}
        own, theirs = (gold(self.prompts, ids) for ids in (drawn.ids, self.reference.ids))
        starts = self.test.chosen.start
        chosen = gold(
            self.prompts,
            [ids[starts[i] :] for i, ids in enumerate(self.test.chosen.ids)][: len(own)],
        )
        for name, other in (("win_rate", theirs), ("win_rate_chosen", chosen)):
            won = wins(own, other)
            found |= mean_metrics(f"policy/{name}", won, self.seed)
            outcomes[f"policy/{name}"] = self.scored.pack(won)
        found["policy/tie_rate"] = float((own == theirs).mean())
        found |= mean_metrics("policy/gold_reward", own, self.seed)
        found["reference/gold_reward"] = float(theirs.mean())
        return Evaluation(found, outcomes)

    def _divergence(self, policy: Policy, drawn: Responses) -> Metrics:
        """KL(policy || reference), the mean of log pi - log pi_ref. The mean is unbiased only on
        responses from the policy's own distribution."""
        if not self.job.sampling.exact:
            drawn = self._draw(policy, "exact answers", temperature=1.0, top_p=1.0)
        rows = PackedRows(drawn.after(self.prompts))
        own, reference = (
            self.shared.scored(scorer, rows)[:, 0] for scorer in (policy, self.reference_policy)
        )
        ratio = own - reference
        error = float(ratio.std(ddof=1) / math.sqrt(len(ratio))) if len(ratio) > 1 else None
        return {"policy/kl": float(ratio.mean()), "policy/kl_se": error}
