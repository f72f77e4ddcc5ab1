"""The job that trains policies on noisy preference pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from sympo.evaluation.policy_metrics import implicit_metrics
from sympo.evaluation.rewards import agreement, gaps
from sympo.margins import DPO, BaseMargin
from sympo.models.texts.policies import Policy
from sympo.outcomes import Scored, prompt_keys
from sympo.pipelines.baselines import baselines
from sympo.pipelines.cell import Cell
from sympo.pipelines.pair_files import SPLITS
from sympo.pipelines.preference import PreferenceJob, Run, check_lengths
from sympo.pipelines.reference import FineTuning, Reference
from sympo.pipelines.responses import ResponseEvaluation
from sympo.pipelines.shared_stages import Shared, drawing, tell_account
from sympo.protocols.jobs import Listener, Reporter
from sympo.sampling import Sampling
from sympo.types import BadInput, Evaluation

# the folders with the weights of the last and the selected epoch, inside a run folder
WEIGHTS = {"last": "policy", "selected": "policy_selected"}


@dataclass(frozen=True, kw_only=True)
class PolicyJob(PreferenceJob):
    """Fine-tunes, scores and samples the reference; trains on noisy pairs; samples and compares.

    margin: maps log-probabilities to implicit rewards. sft: how the reference is fine-tuned.
        sampling: how policies respond. save_policy: whether to save the policy in the cell's
        folder, in the hub's format.
    """

    identity: ClassVar[str] = "policy"

    margin: BaseMargin = field(default_factory=DPO)
    sft: FineTuning = field(default_factory=FineTuning)
    sampling: Sampling = field(default_factory=Sampling)
    save_policy: bool = False

    headlines: ClassVar[tuple[str, ...]] = ("policy/win_rate", "test/implicit_accuracy")
    leaves_samples: ClassVar[bool] = True

    def check(self, cell: Cell) -> None:
        """Refuse a cell that cannot run; raises BadInput."""
        if cell.dataset.holds != "texts":
            raise BadInput(
                f"dataset={cell.name.dataset} has no prompts and responses, which job=policy needs"
            )
        if not cell.model.answers:
            raise BadInput(
                f"model={cell.name.model} cannot generate text; job=policy needs tiny_lm or hub"
            )
        if cell.loss.average_log_ratio and not self.margin.average_log_ratio:
            raise BadInput(
                f"loss={cell.name.loss} needs the difference of log-ratios per token: add "
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

    def content(self) -> str | None:
        return None

    def lacks(self, cell: Cell) -> str:
        missing = self.save_policy and not (cell.folder.path / "policy").is_dir()
        return "save_policy=true" if missing else ""

    def shared(self, cell: Cell, reporter: Reporter) -> Shared:
        """The stages that the cell shares with other cells."""
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
        return Shared(cell, reference, settings, reporter.note, reporter.status)

    def train(self, cells: Sequence[Cell], listener: Listener) -> None:
        """Train cells one after another, each from its last checkpoint if there is one."""
        for place, cell in enumerate(cells):
            run = _Run(cell, self, listener, place)
            with drawing(cell.device, cell.name.seed, "training"):
                run.train()

    def can_sample_again(self, cell: Cell) -> bool:
        """Whether the weights of a complete cell were saved."""
        return all((cell.folder.path / name).is_dir() for name in WEIGHTS.values())

    def sample_again(self, cell: Cell, reporter: Reporter) -> Mapping[str, Evaluation]:
        """Draw and evaluate the responses of the last and the selected epoch with the cell's
        sampler, from the saved weights."""
        shared = self.shared(cell, reporter)
        responses, found = ResponseEvaluation(cell, self, shared), {}
        for which, name in WEIGHTS.items():
            policy = _policy(cell, shared, partial(_trained, cell, name))
            drawn, found[which] = responses.of(policy)
            responses.write(which, drawn)
        return found


class _Run(Run):
    """Runs one cell from the shared stages to its last evaluation."""

    def __init__(self, cell: Cell, job: PolicyJob, listener: Listener, place: int) -> None:
        self.policy_job, shared = job, job.shared(cell, listener)
        self.data, rows = shared.preferences(), shared.rows()
        tell_account(cell, self.data.account, listener.note)
        reference_logps = {} if job.margin.reference_free else shared.reference_logps()
        self.responses = ResponseEvaluation(cell, job, shared)
        self.drawn = self.responses.reference
        keys = prompt_keys(prompt.tolist() for prompt in self.data.test.prompts)
        self.cluster = np.unique(keys, return_inverse=True)[1]
        self.scored = Scored(self.data.test.pairs.ids, keys)
        cell.folder.keep_test_set(self.scored.test_set)
        train, test = self.data.train, self.data.test
        self.baselines = baselines(
            shared, train.texts, test.texts, test.pairs, self.cluster, self.scored
        )
        self.policy = _policy(cell, shared, lambda base: cell.model.adapt(base, cell.name.seed))
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
        self.drawn, found = self.responses.of(self.policy)
        return Evaluation(
            found.metrics | self.baselines.metrics, found.outcomes | self.baselines.outcomes
        )

    def keep(self, which: str) -> None:
        self.responses.write(which, self.drawn)
        if which == "selected":
            self._keep_weights(which)

    def save(self) -> None:
        self._keep_weights("last")

    def _keep_weights(self, which: str) -> None:
        if self.policy_job.save_policy:
            self.policy.save(self.cell.folder.unfinished / WEIGHTS[which])


def _policy(cell: Cell, shared: Shared, made: Callable[[Any], Any]) -> Policy:
    """A policy on the cell's device; `made` turns the reference model into its model."""
    model = made(cell.model.load(shared.reference_folder()))
    return shared.source.policy(model, cell.dataset.max_length, cell.device)


def _trained(cell: Cell, name: str, base: Any) -> Any:
    return cell.model.restored(base, cell.folder.path / name)
