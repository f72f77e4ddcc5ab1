"""The shared stages: the reference policy, pairs, log-probabilities and reference responses."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sympo import seeding
from sympo.data import row_account
from sympo.disk import write_atomically
from sympo.identity import Identity, identity_of, joined, part_identity
from sympo.models.texts import adapters
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.models.texts.stacked_scorer import StackedScorer
from sympo.pipelines.cell import Cell
from sympo.pipelines.pair_files import (
    ACCOUNT,
    SPLITS,
    load_ids,
    load_preferences,
    load_rows,
    save_ids,
    save_pairs,
)
from sympo.pipelines.reference import Reference
from sympo.runs.stages import Stages
from sympo.sampling import Responses, Transformers
from sympo.training.fine_tuning import fine_tune
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
        self.stages = Stages(Path(cell.config["results_dir"]) / "stages", note, cell.since)
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

    def reference_folder(self) -> Path:
        """The model after supervised fine-tuning, in the hub's format."""
        if not self.source.sft.epochs and self.source.model.released is not None:
            return self.source.model.released  # used unchanged: nothing to make
        return self.stages.get("sft", self._sft_key, self._make_reference)

    def _make_reference(self, folder: Path) -> None:
        source, model, sft = self.source, self.source.model, self.source.sft
        built = model.build(self.vocabulary, sft.seed)
        if sft.epochs:
            rows = PackedRows(self.dataset.corpus(self.tokenizer))
            adapted = model.adapt(built, seeding.derive(sft.seed, "fine-tuning"))
            stacked = source.plain and model.stacks
            policy = (
                StackedScorer(StackedLlama.of(built.to(self._device), 1), rows)
                if stacked
                else source.policy(adapted, self.dataset.max_length, self.cell.device)
            )
            if note := sft.slow_start(len(rows)):
                self.stages.note(f"sft: {note}")
            with drawing(self.cell.device, sft.seed, "fine-tuning"):
                fine_tune(
                    policy, rows, sft, sft.seed, source.tokens_per_pass,
                    lambda step, steps, loss: self.on_step(
                        f"sft: step {step}/{steps}, {loss:.3f} nats per token"
                    ),
                )  # fmt: skip
            if isinstance(policy, StackedScorer):
                policy.model.write(0, built)
            else:
                policy.use_default_attention()
                built = adapters.merged(adapted)
        built.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def reference(self) -> Policy:
        """The reference policy."""
        model = self.source.model.load(self.reference_folder())
        return self.source.policy(
            model.requires_grad_(False), self.dataset.max_length, self.cell.device
        )

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
        return load_preferences(self.preferences_folder())

    def _make_preferences(self, folder: Path) -> None:
        reference = cache(self.reference)  # loaded only if the data set calls it

        def answer(prompts: Any, seed: int) -> Responses:
            return PAIRS_DRAWN_BY.sample(
                reference(), prompts, self.vocabulary, self.source.sampling, seed,
                temperature=1, top_p=1,
            )  # fmt: skip

        made = self.dataset.preferences(self.cell.name.seed, self.tokenizer, answer)
        for name in SPLITS:
            save_pairs(folder, name, getattr(made, name))
        (folder / ACCOUNT).write_text(row_account.text(made.account))

    def rows(self) -> dict[str, PackedRows]:
        """The pairs of each split as packed rows."""
        return load_rows(self.preferences_folder())

    def reference_logps(self) -> dict[str, np.ndarray]:
        """Reference log-probabilities of both responses of every pair; (n, 2) by split."""

        def make(folder: Path) -> None:
            rows = self.rows()
            policy = self.reference()
            scores: Any = {
                name: policy.score(rows[name], self.source.tokens_per_pass) for name in rows
            }
            np.savez(folder / "logps.npz", **scores)

        key = joined(policy=self._sft_key, pairs=self._preferences_key)
        with np.load(self.stages.get("reference-logps", key, make) / "logps.npz") as found:
            return {name: found[name] for name in SPLITS}

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
            save_ids(folder / "answers.npz", answers.ids, truncated=answers.truncated)

        key = joined(
            policy=self._sft_key,
            pairs=self._preferences_key,
            sampling=self._parts["sampling"],
            seed=self.cell.name.seed,
            sampler=self.cell.folder.sampler,
        )
        folder = self.stages.get("reference-answers", key, make)
        with np.load(folder / "answers.npz") as found:
            return Responses(load_ids(found), found["truncated"])


def tell_account(cell: Cell, found: Account, note: Callable[[str], None]) -> None:
    """Write the account of rows to a cell's outputs, and show it once per process."""
    text = row_account.text(found)
    write_atomically(cell.folder.unfinished / ACCOUNT, text)
    if text not in _shown:
        _shown.add(text)
        for line in row_account.lines(found, cell.dataset.on_rendered):
            note(line)


@contextmanager
def drawing(device: str, seed: int, purpose: str) -> Iterator[None]:
    """Seed the dropout of adapters inside the context, without affecting draws outside."""
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
        torch.manual_seed(seeding.derive(seed, purpose))
        yield
