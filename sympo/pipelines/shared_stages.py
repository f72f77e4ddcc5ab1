"""The shared stages: the reference policy, pairs, log-probabilities and reference responses."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sympo import seeding
from sympo.data import row_account
from sympo.disk import write_atomically
from sympo.distributed import processes
from sympo.identity import Identity, identity_of, joined, part_identity
from sympo.models.texts import adapters
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.models.texts.stacked_scorer import StackedScorer
from sympo.pipelines.cell import Cell
from sympo.pipelines.compiling import compile_layers
from sympo.pipelines.pair_files import (
    ACCOUNT,
    SPLITS,
    load_ids,
    load_preferences,
    load_rows,
    save_ids,
    save_pairs,
)
from sympo.pipelines.placement import Placement, placement
from sympo.pipelines.reference import Reference
from sympo.runs.stages import Stages
from sympo.sampling import Responses, Transformers
from sympo.sampling.stacked import sample_stacked
from sympo.training.fine_tuning import fine_tune
from sympo.training.pass_memory import scoring_tokens, training_tokens
from sympo.training.passes import Passes
from sympo.training.stacked_policies import score
from sympo.types import Account, Preferences, Vocabulary

# the fixed sampler of pairs, for data sets that consist of a policy's responses
PAIRS_DRAWN_BY = Transformers()
_shown: set[str] = set()  # accounts are shown once per process


class Shared:
    """The stages that the cells of a sweep share, each made by the first cell that needs it.

    Every stage is keyed by the settings and files that determine it: the reference by model, data
    and fine-tuning; the pairs by data and tokenizer (and by reference and seed, if the reference
    sampled them); the other stages by reference and pairs.

    reference: None if neither data set nor job needs a policy. settings: the config of the
    reference: `model`, `sft` and `sampling`.
    """

    def __init__(
        self,
        cell: Cell,
        reference: Reference | None,
        settings: Mapping[str, Any],
        note: Callable[[str], None],
        on_step: Callable[[str], None],
    ) -> None:
        self.cell, self.made_by, self.dataset = cell, reference, cell.dataset
        self.on_step = on_step
        root = Path(cell.config["results_dir"]) / "stages"
        self.stages = Stages(root, note, cell.since, together=True)
        content = cell.contents["model"]
        if reference is not None:
            content = reference.model.fingerprint()
        self.contents = {"dataset": cell.contents["dataset"], "model": content}
        parts = {"dataset": cell.config["dataset"], "model": {}, **settings}
        options = {"dataset": cell.name.dataset, "model": cell.name.model}
        self._parts = identity_of(parts, options, self.contents)

    @property
    def tokenizer(self) -> Any:
        # pairs sampled from a policy use the policy's own tokens
        own = self.source if self.dataset.from_policy else self.cell
        return own.model.tokenizer()

    @property
    def vocabulary(self) -> Vocabulary:
        found: Vocabulary = self.dataset.vocabulary(self.tokenizer)
        return found

    @property
    def source(self) -> Reference:
        assert self.made_by is not None
        return self.made_by

    @property
    def placement(self) -> Placement:
        """Where the weights of the cell's policies are."""
        return placement(self.source, self.cell)

    @property
    def _stacks(self) -> bool:
        """Whether the reference is computed as small models are that are trained together."""
        return self.source.plain and self.source.model.stacks and not self.cell.distributed

    @property
    def _sft_key(self) -> Identity:
        return joined(
            dataset=self._parts["dataset"].without(*self.dataset.beside_corpus),
            model=self._parts["model"],
            sft=self._parts["sft"],
            precision=self.source.precision,
            **self._reading,
        )

    @property
    def _reading(self) -> Mapping[str, Any]:
        """The version of how rows become pairs, which is not a setting."""
        return {} if self.dataset.from_policy else {"reading": self.dataset.reading}

    @property
    def _preferences_key(self) -> Identity:
        data = {"dataset": self._parts["dataset"], "tokenizer": self.contents["model"]}
        if not self.dataset.from_policy:
            return joined(**data, texts=list(self.dataset.texts_hold), **self._reading)
        sampling = self.source.sampling
        return joined(
            **data,
            policy=self._sft_key,
            seed=self.cell.name.seed,
            max_new_tokens=sampling.max_new_tokens,
            batch_size=sampling.batch_size,
            sampler=part_identity(PAIRS_DRAWN_BY),
        )

    def _noting(self, stage: str) -> Callable[[str], None]:
        return lambda text: self.stages.note(f"{stage}: {text}")

    def reference_folder(self) -> Path:
        """The model after supervised fine-tuning, in the hub's format."""
        if not self.source.sft.epochs and self.source.model.released is not None:
            return self.source.model.released  # used unchanged: nothing to make
        return self.stages.get("sft", self._sft_key, self._make_reference)

    def _make_reference(self, folder: Path) -> None:
        source, model, sft = self.source, self.source.model, self.source.sft
        built = self.placement.built(self.vocabulary)
        if sft.epochs:
            rows = PackedRows(self.dataset.corpus(self.tokenizer))
            adapted = model.adapt(built, seeding.derive(sft.seed, "fine-tuning"))
            note = self._noting("sft")
            if warning := sft.slow_start(len(rows)):
                note(warning)
            policy: StackedScorer | Policy
            if self._stacks:
                policy = StackedScorer(StackedLlama.of(built.to(self._device), 1), rows)
                tokens = int(rows.tokens.sum())  # it divides the rows itself
            else:
                policy = self.placement.policy(adapted)
                if line := self._compile(policy, sft.epochs * int(rows.tokens.sum())):
                    note(line)
                tokens = training_tokens(source.tokens_per_pass, policy, rows, sft.batch_size, note)
            with drawing(self.cell.device, sft.seed, "fine-tuning"):
                fine_tune(
                    policy, rows, sft, sft.seed, tokens,
                    lambda step, steps, loss: self.on_step(
                        f"sft: step {step}/{steps}, {loss:.3f} nats per token"
                    ),
                    note,
                )  # fmt: skip
            if isinstance(policy, StackedScorer):
                policy.model.write(0, built)
            else:
                policy.use_default_attention()
                built = adapters.merged(adapted)
        self.placement.write(built, folder)
        if processes.first() and self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def _compile(self, policy: Policy, tokens: int) -> str:
        source, longest = self.source, self.dataset.max_length
        return compile_layers(source.compile, policy, source.precision, tokens, longest)

    def reference(self) -> Policy:
        """The reference policy."""
        model = self.placement.loaded(self.source.model, self.reference_folder())
        return self.placement.policy(model.requires_grad_(False))

    def stacked_reference(self, cells: int) -> StackedLlama:
        """Copies of the reference policy to train together."""
        model = self.source.model.load(self.reference_folder())
        return StackedLlama.of(model.to(self._device), cells)

    @property
    def stacked_on(self) -> tuple[torch.device, torch.dtype]:
        """Device and precision of policies that are trained together."""
        return self._device, torch.float32

    @property
    def _device(self) -> Any:
        return torch.device(self.cell.device)

    def preferences_folder(self) -> Path:
        """The pairs as token ids, with the account of the rows behind them."""
        return self.stages.get("pairs", self._preferences_key, self._make_preferences)

    def preferences(self) -> Preferences:
        found = load_preferences(self.preferences_folder())
        splits = {name: self.dataset.described(getattr(found, name)) for name in SPLITS}
        return Preferences(**splits, account=found.account)

    def _make_preferences(self, folder: Path) -> None:
        # loaded only if the data set calls it
        reference, stacked = cache(self.reference), cache(partial(self.stacked_reference, 1))
        exact = replace(self.source.sampling, temperature=1, top_p=1) if self.made_by else None

        def answer(prompts: Any, seed: int) -> Responses:
            assert exact is not None
            if self._stacks:  # the same draws, but faster
                return sample_stacked(stacked(), prompts, self.vocabulary, exact, seed)[0].responses
            return PAIRS_DRAWN_BY.sample(reference(), prompts, self.vocabulary, exact, seed)

        made = self.dataset.preferences(self.cell.name.seed, self.tokenizer, answer)
        if processes.first():
            for name in SPLITS:
                save_pairs(folder, name, getattr(made, name))
            (folder / ACCOUNT).write_text(row_account.text(made.account))

    def rows(self) -> dict[str, PackedRows]:
        """The pairs of each split as packed rows."""
        return load_rows(self.preferences_folder())

    def reference_logps(self) -> dict[str, np.ndarray]:
        """Reference log-probabilities of both responses of every pair; (n, 2) by split."""
        return self._logps(self._logps_key(stacked=False), self._score_pairs)

    def stacked_logps(self) -> dict[str, np.ndarray]:
        """`reference_logps` as small policies are computed together: rounded alike, so that their
        margins are 0 before training."""
        return self._logps(self._logps_key(stacked=True), self._score_stacked)

    def _logps_key(self, stacked: bool) -> Identity:
        computed = {"computed": "stacked"} if stacked else {}
        return joined(policy=self._sft_key, pairs=self._preferences_key, **computed)

    def existing(self, stacked: bool, reference_free: bool) -> dict[str, bool]:
        """Which of the stages of a job on released texts or of policies exist, by name.

        stacked: the cells are trained together. reference_free: the margin needs no reference.
        """
        found = {"pairs": self.stages.has("pairs", self._preferences_key)}
        if self.made_by is None:
            return found
        if self.source.sft.epochs or self.source.model.released is None:
            found = {"sft": self.stages.has("sft", self._sft_key), **found}
        if self.cell.job.leaves_samples:
            if not reference_free:
                found["reference-logps"] = self.stages.has(
                    "reference-logps", self._logps_key(stacked)
                )
            found["reference-answers"] = self.stages.has("reference-answers", self._answers_key)
        return found

    def _logps(self, key: Identity, made: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        def make(folder: Path) -> None:
            found = made()
            if processes.first():
                np.savez(folder / "logps.npz", **found)

        with np.load(self.stages.get("reference-logps", key, make) / "logps.npz") as found:
            return {name: found[name] for name in SPLITS}

    def _score_pairs(self) -> dict[str, np.ndarray]:
        rows = self.rows()
        policy = self.reference()
        if note := self._compile(policy, sum(int(rows[name].tokens.sum()) for name in rows)):
            self.stages.note(f"reference: {note}")
        return {name: self.scored(policy, rows[name]) for name in rows}

    def _score_stacked(self) -> dict[str, np.ndarray]:
        model = self.stacked_reference(1)
        return {
            name: score(model, RowTable(rows, *self.stacked_on))[0]
            for name, rows in self.rows().items()
        }

    def scored(self, policy: Policy, rows: PackedRows) -> np.ndarray:
        """A policy's log-probabilities of the responses of rows; (rows, sides)."""
        tokens = scoring_tokens(self.source.tokens_per_pass, policy.device)
        longest = int(rows.tokens.max())
        note, divided = self.stages.note, policy.divided
        passes = Passes(tokens, longest, policy.device, note, divided=divided)
        return passes.run(partial(policy.score, rows))

    def reference_answers(self) -> Responses:
        """The reference policy's responses to the first prompts of the test split."""

        def make(folder: Path) -> None:
            answers = self.cell.sampler.sample(
                self.reference(),
                self.preferences().test.prompts[: self.source.sampling.prompts],
                self.vocabulary,
                self.source.sampling,
                seeding.derive(self.cell.name.seed, "reference answers"),
            )
            if processes.first():
                save_ids(folder / "answers.npz", answers.ids, truncated=answers.truncated)

        folder = self.stages.get("reference-answers", self._answers_key, make)
        with np.load(folder / "answers.npz") as found:
            return Responses(load_ids(found), found["truncated"])

    @property
    def _answers_key(self) -> Identity:
        return joined(
            policy=self._sft_key,
            pairs=self._preferences_key,
            sampling=self._parts["sampling"],
            seed=self.cell.name.seed,
            sampler=self.cell.folder.sampler,
        )


def tell_account(cell: Cell, found: Account, note: Callable[[str], None]) -> None:
    """Write the account of rows to a cell's outputs, and show it once per process."""
    text = row_account.text(found)
    if processes.first():
        write_atomically(cell.folder.unfinished / ACCOUNT, text)
    if text not in _shown:
        _shown.add(text)
        for line in row_account.lines(found, cell.dataset.on_rendered):
            note(line)


@contextmanager
def drawing(device: str, seed: int, purpose: str) -> Iterator[None]:
    """Seed the dropout of adapters inside the context, without affecting draws outside; each
    process draws its own."""
    own = (str(processes.rank()),) if processes.rank() else ()
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
        torch.manual_seed(seeding.derive(seed, purpose, *own))
        yield
