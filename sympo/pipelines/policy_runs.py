"""What the policies of a seed share, and what each of them records and keeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sympo.distributed import processes
from sympo.evaluation.policy_metrics import displacement_metrics, implicit_metrics
from sympo.evaluation.rewards import agreement, gaps
from sympo.models.texts import model_files
from sympo.outcomes import Scored, prompt_keys
from sympo.pipelines.baselines import baselines
from sympo.pipelines.cell import Cell
from sympo.pipelines.pair_files import SPLITS
from sympo.pipelines.preference import Run
from sympo.pipelines.responses import ResponseEvaluation
from sympo.pipelines.shared_stages import tell_account
from sympo.protocols.jobs import Listener
from sympo.sampling import Responses
from sympo.types import Evaluation

if TYPE_CHECKING:
    from sympo.models.texts.policies import Policy
    from sympo.pipelines.policy import PolicyJob

# the folders with the weights of the last and the selected epoch, inside a run folder
WEIGHTS = {"last": "policy", "selected": "policy_selected"}


class Saved(Protocol):
    """A policy that can be saved."""

    def save(self, folder: Path) -> None:
        """Write it to a folder in the hub's format."""


class PolicyInputs:
    """What all policies of a seed start from: pairs, the reference's scores and its responses."""

    def __init__(self, cell: Cell, job: "PolicyJob", listener: Listener) -> None:
        self.shared = shared = job.shared(cell, listener)
        self.data, self.rows = shared.preferences(), shared.rows()
        self.reference_logps: Mapping[str, np.ndarray] = {}
        if not job.margin.reference_free:
            stacked = job.trained_with(cell) is not None
            self.reference_logps = shared.stacked_logps() if stacked else shared.reference_logps()
        self.responses = ResponseEvaluation(cell, job, shared)
        keys = prompt_keys(prompt.tolist() for prompt in self.data.test.prompts)
        self.cluster = np.unique(keys, return_inverse=True)[1]
        self.scored = Scored(self.data.test.pairs.ids, keys)
        train, test = self.data.train, self.data.test
        self.baselines = baselines(
            shared, train.texts, test.texts, test.pairs, self.cluster, self.scored
        )


class PolicyRun(Run):
    """One policy's evaluations and responses."""

    def __init__(
        self, cell: Cell, job: "PolicyJob", listener: Listener, place: int, inputs: PolicyInputs
    ) -> None:
        self.save_policy, self.inputs, self.fixed = job.save_policy, inputs, inputs.baselines
        tell_account(cell, inputs.data.account, listener.note)
        if processes.first():
            cell.folder.keep_test_set(inputs.responses.scored.test_set)
            cell.folder.keep_test_set(inputs.scored.test_set)
        self.drawn: Responses = inputs.responses.reference
        pairs = {name: getattr(inputs.data, name).pairs for name in SPLITS}
        lengths = {name: rows.lengths for name, rows in inputs.rows.items()}
        super().__init__(
            cell, job, listener, place, pairs, lengths, job.margin, inputs.reference_logps
        )

    def on_test(self, rewards: np.ndarray, scores: np.ndarray) -> Evaluation:
        pairs = self.pairs["test"]
        outcomes = self.inputs.scored.pack(agreement(gaps(rewards, pairs), pairs.label))
        return Evaluation(
            implicit_metrics(rewards, pairs, self.inputs.cluster)
            | displacement_metrics(rewards, scores),
            {"implicit_accuracy": outcomes},
        )

    def beside(self, scorer: "Policy") -> Evaluation:
        self.drawn, found = self.inputs.responses.of(scorer)
        return found

    def keep(self, which: str, scorer: Saved) -> None:
        self.inputs.responses.write(self.cell.folder.unfinished, which, self.drawn)
        if which == "selected":
            self._keep_weights(which, scorer)

    def save(self, scorer: Saved) -> None:
        self._keep_weights("last", scorer)

    def _keep_weights(self, which: str, scorer: Saved) -> None:
        if self.save_policy:
            folder = self.cell.folder.unfinished / WEIGHTS[which]
            scorer.save(folder)
            if processes.first():
                model_files.seal(folder)
