"""The job that trains policies on noisy preference pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from sympo.identity import stable_name
from sympo.margins import DPO, BaseMargin
from sympo.models.texts import model_files
from sympo.models.texts.policies import Policy
from sympo.models.texts.row_grids import TOKENS_ON_GPU
from sympo.pipelines.cell import Cell
from sympo.pipelines.policy_runs import WEIGHTS, PolicyInputs, PolicyRun
from sympo.pipelines.preference import PreferenceJob, check_lengths
from sympo.pipelines.preference_training import Training
from sympo.pipelines.reference import FineTuning, Reference, is_plain
from sympo.pipelines.responses import ResponseEvaluation
from sympo.pipelines.shared_stages import Shared, drawing
from sympo.pipelines.stacked_policies import train_together
from sympo.pipelines.text_cleaning import clean
from sympo.protocols.jobs import Listener, Reporter
from sympo.sampling import Sampling
from sympo.types import BadInput, Evaluation

# starting a process takes as long as training on this many pairs of a policy that is trained with
# others
PAIRS_WORTH_A_PROCESS = 10_000


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
    distributes: ClassVar[bool] = True

    def check(self, cell: Cell) -> None:
        """Refuse a cell that cannot run; raises BadInput."""
        if cell.dataset.holds != "texts":
            raise BadInput(
                f"dataset={cell.name.dataset} has no prompts and responses, which job=policy needs"
            )
        if not cell.model.answers:
            raise BadInput(
                f"model={cell.name.model} cannot generate text; "
                "job=policy needs tiny_lm, smollm2 or hub"
            )
        if cell.loss.average_log_ratio and not self.margin.average_log_ratio:
            raise BadInput(
                f"loss={cell.name.loss} needs the difference of log-ratios per token: add "
                "job/margin=ipo"
            )
        cell.sampler.check(cell.device)
        if cell.distributed and not cell.sampler.shares:
            raise BadInput(
                f"sampler={stable_name(type(cell.sampler))} cannot be shared by processes: use "
                "sampler=transformers, or distributed=none"
            )
        if cell.divided:
            self._check_divided(cell)
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

    def _check_divided(self, cell: Cell) -> None:
        """Refuse what models whose weights are divided do not do; raises BadInput."""
        adapters, compiled = cell.model.lora_rank, self.compile is True
        for refused, setting in (
            (adapters is not None, f"model.lora_rank={adapters}"),
            (compiled, "job.compile=true"),
            (cell.filter is not None, "a filter"),
        ):
            if refused:
                raise BadInput(
                    f"{setting} is not allowed with distributed=fsdp: use distributed=ddp, or "
                    "leave it out"
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
        """Train cells from their last checkpoints: together if they can be, else one by one."""
        inputs = PolicyInputs(cells[0], self, listener)
        runs = [PolicyRun(cell, self, listener, place, inputs) for place, cell in enumerate(cells)]
        for run in runs:
            clean(run, inputs.rows, partial(_untrained, run.cell, inputs.shared))
        if self.trained_with(cells[0]) is not None:
            train_together(runs, inputs, listener)
            return
        for run in runs:
            cell = run.cell
            policy = _untrained(cell, inputs.shared, cell.name.seed)
            training = Training(run, inputs.rows, policy)
            with drawing(cell.device, cell.name.seed, "training"):
                training.train()

    def trained_with(self, cell: Cell) -> str | None:
        """A key of the cells that are trained together with this one: those of its seed, which see
        the same pairs. None for models, samplers and ways to compute that need a cell alone."""
        alone = not cell.distributed
        together = alone and is_plain(self) and cell.model.stacks and cell.sampler.stacks
        return f"seed={cell.name.seed}" if together else None

    def starts(self, cell: Cell) -> float:
        return float(cell.dataset.train_pairs * self.epochs / PAIRS_WORTH_A_PROCESS)

    def bytes_per_cell(self, cell: Cell) -> int:
        """About what each further cell adds to the peak memory of a batch: activations of the
        largest grid of tokens in an evaluation."""
        model, longest = cell.model, cell.dataset.max_length
        numbers = 8 * model.hidden_size + 3 * model.intermediate_size + 2 * model.heads * longest
        return int(4 * TOKENS_ON_GPU * numbers)

    def can_sample_again(self, cell: Cell) -> bool:
        """Whether the weights of a complete cell were saved."""
        return all((cell.folder.path / name).is_dir() for name in WEIGHTS.values())

    def sample_again(self, cell: Cell, reporter: Reporter) -> Mapping[str, Evaluation]:
        """Draw and evaluate the responses of the last and the selected epoch with the cell's
        sampler, from the saved weights."""
        shared = self.shared(cell, reporter)
        responses, found = ResponseEvaluation(cell, self, shared), {}
        for which, name in WEIGHTS.items():
            policy = _policy(cell, shared, partial(_trained, cell, shared, name))
            drawn, found[which] = responses.of(policy)
            responses.write(cell.folder.unfinished, which, drawn)
        return found


def _untrained(cell: Cell, shared: Shared, seed: int) -> Policy:
    return _policy(cell, shared, partial(cell.model.adapt, seed=seed))


def _policy(cell: Cell, shared: Shared, made: Callable[[Any], Any]) -> Policy:
    """A policy on the cell's device; `made` turns the reference model into its model."""
    placement = shared.placement
    return placement.policy(made(placement.loaded(cell.model, shared.reference_folder())))


def _trained(cell: Cell, shared: Shared, name: str, base: Any) -> Any:
    folder = cell.folder.path / name
    model_files.check_seal(folder)
    return shared.placement.restored(cell.model, base, folder)
