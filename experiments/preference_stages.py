"""The stages that cells share: the reference, pairs, its log-probabilities, its answers."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.cells import Cell
from sympo import seeding
from sympo.data import account
from sympo.disk import write_atomically
from sympo.models.texts import adapters
from sympo.models.texts.language_models import LanguageModel
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.ranges import Amount, Count, Seed
from sympo.records import identity
from sympo.sampling.responses import Responses
from sympo.sampling.settings import Sampling
from sympo.stages import Stages
from sympo.training.fine_tuning import fine_tune
from sympo.training.optimizer import Recipe
from sympo.types import (
    Account,
    Encoded,
    Preferences,
    TokenPairs,
    Vocabulary,
    chosen_over_rejected,
)

SPLITS = ("train", "validation", "test")
# the account of rows, beside pairs and in run folders
ACCOUNT = "data.json"
_told: set[str] = set()  # once in a process is enough


@dataclass(frozen=True, kw_only=True)
class FineTuning(Recipe):
    """Supervised fine-tuning, the same for every cell; 0 epochs take the model as it is."""

    epochs: Amount
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The policy that a cell starts from or asks for its pairs, and how it answers.

    model: before supervised fine-tuning. precision: float32 or bfloat16, of the matrix products.
    """

    model: LanguageModel
    sft: FineTuning
    sampling: Sampling
    precision: str
    gradient_checkpointing: bool = False
    tokens_per_pass: Count = 4096
    attention: str = "grouped"
    compile: bool = False

    def policy(self, model: Any, longest: int, device: str) -> Policy:
        """A model as a policy on a device, for sequences of at most `longest` tokens."""
        if self.gradient_checkpointing:
            checkpoint_activations(model)
        return Policy(model.to(device), self.precision, longest, self.attention, self.compile)


def checkpoint_activations(model: Any) -> None:
    """Have a model of `transformers` compute activations again instead of keeping them."""
    # the old name of it before transformers 5.2x, where the new one is not there
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


class Shared:
    """What the cells of a sweep have in common, made by the first one that needs it.

    Every stage is kept under the settings and files that determine it: the reference under model,
    data and its fine-tuning, the pairs under data and tokenizer (and, where they are samples of the
    reference, under it and the seed), the rest under these two.

    reference: None where the data set needs no policy and the job none either; settings: the part
    of the config, `model`, `sft` and `sampling`, that it was made of.
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
        self._parts = identity(parts, self.contents)

    @property
    def tokenizer(self) -> Any:
        # pairs that are samples of a policy are in the policy's own tokens
        own = self.source if self.dataset.from_policy else self.cell
        return own.model.tokenizer()

    @property
    def vocabulary(self) -> Vocabulary:
        return self.dataset.vocabulary(self.tokenizer)

    @property
    def source(self) -> Reference:
        assert self.made_by is not None
        return self.made_by

    @property
    def _sft_key(self) -> Mapping[str, Any]:
        dataset = self._parts["dataset"]
        return {
            "dataset": {k: v for k, v in dataset.items() if k not in self.dataset.beside_corpus},
            "model": self._parts["model"],
            "sft": self._parts["sft"],
            "precision": self.source.precision,
            **self._reading,
        }

    @property
    def _reading(self) -> Mapping[str, Any]:
        """How rows become pairs, which is no setting."""
        return {} if self.dataset.from_policy else {"reading": self.dataset.reading}

    @property
    def _preferences_key(self) -> Mapping[str, Any]:
        data = {"dataset": self._parts["dataset"], "tokenizer": self.contents["model"]}
        if not self.dataset.from_policy:
            return {**data, "texts": list(self.dataset.texts_hold), **self._reading}
        sampling = self.source.sampling
        return {
            **data,
            "policy": self._sft_key,
            "seed": self.cell.name.seed,
            "max_new_tokens": sampling.max_new_tokens,
            "batch_size": sampling.batch_size,
        }

    def reference_folder(self) -> Path:
        """The model after supervised fine-tuning, in the hub's format."""
        if not self.source.sft.epochs and self.source.model.released is not None:
            return self.source.model.released  # as it is: nothing to make or to keep
        return self.stages.get("sft", self._sft_key, self._make_reference)

    def _make_reference(self, folder: Path) -> None:
        source, model, sft = self.source, self.source.model, self.source.sft
        built = model.build(self.vocabulary, sft.seed)
        if sft.epochs:
            rows = PackedRows(self.dataset.corpus(self.tokenizer))
            adapted = model.adapt(built, seeding.derive(sft.seed, "fine-tuning"))
            policy = source.policy(adapted, self.dataset.max_length, self.cell.device)
            if note := sft.slow_start(len(rows)):
                self.stages.note(f"sft: {note}")
            with drawing(self.cell.device, sft.seed, "fine-tuning"):
                fine_tune(
                    policy, rows, sft, sft.seed, source.tokens_per_pass,
                    lambda step, steps, loss: self.on_step(
                        f"sft: step {step}/{steps}, {loss:.3f} nats per token"
                    ),
                )  # fmt: skip
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

    def preferences_folder(self) -> Path:
        """The pairs, as token ids, and what became of the rows that they were made of."""
        return self.stages.get("pairs", self._preferences_key, self._make_preferences)

    def preferences(self) -> Preferences:
        return _load_preferences(self.preferences_folder())

    def _make_preferences(self, folder: Path) -> None:
        reference = cache(self.reference)  # loaded for data sets that ask it

        def answer(prompts: Any, seed: int) -> Responses:
            return self.cell.sampler.sample(
                reference(), prompts, self.vocabulary, self.source.sampling, seed,
                temperature=1, top_p=1,
            )  # fmt: skip

        made = self.dataset.preferences(self.cell.name.seed, self.tokenizer, answer)
        for name in SPLITS:
            _save_pairs(folder, name, getattr(made, name))
        (folder / ACCOUNT).write_text(account.text(made.account))

    def rows(self) -> dict[str, PackedRows]:
        """The pairs of each split as rows of two sides."""
        return _rows(self.preferences_folder())

    def reference_logps(self) -> dict[str, np.ndarray]:
        """Log-probabilities of both answers of every pair under the reference; (n, 2) by split."""

        def make(folder: Path) -> None:
            rows = self.rows()
            policy = self.reference()
            scores: Any = {
                name: policy.score(rows[name], self.source.tokens_per_pass) for name in rows
            }
            np.savez(folder / "logps.npz", **scores)

        key = {"policy": self._sft_key, "pairs": self._preferences_key}
        with np.load(self.stages.get("reference-logps", key, make) / "logps.npz") as found:
            return {name: found[name] for name in SPLITS}

    def reference_answers(self) -> Responses:
        """The reference policy's answers to the first prompts of the test split."""

        def make(folder: Path) -> None:
            answers = self.cell.sampler.sample(
                self.reference(),
                self.preferences().test.prompts[: self.source.sampling.prompts],
                self.vocabulary,
                self.source.sampling,
                seeding.derive(self.cell.name.seed, "reference answers"),
            )
            _save_ids(folder / "answers.npz", answers.ids, truncated=answers.truncated)

        key = {
            "policy": self._sft_key,
            "pairs": self._preferences_key,
            "sampling": self._parts["sampling"],
            "seed": self.cell.name.seed,
        }
        folder = self.stages.get("reference-answers", key, make)
        with np.load(folder / "answers.npz") as found:
            return Responses(_ids(found), found["truncated"])


def tell_account(cell: Cell, found: Account, note: Callable[[str], None]) -> None:
    """Keep what became of the rows beside what a cell leaves, and say it once in a process."""
    text = account.text(found)
    write_atomically(cell.folder.unfinished / ACCOUNT, text)
    if text not in _told:
        _told.add(text)
        for line in account.lines(found, cell.dataset.on_rendered):
            note(line)


@contextmanager
def drawing(device: str, seed: int, purpose: str) -> Iterator[None]:
    """Dropout of adapters draws from a seed of its own in here, and from no other outside."""
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
        torch.manual_seed(seeding.derive(seed, purpose))
        yield


def _save_ids(path: Path, ids: Any, **more: Any) -> None:
    lengths = np.array([len(own) for own in ids], dtype=np.int64)
    flat = np.concatenate([*ids, np.empty(0, np.int64)]).astype(np.int64)
    np.savez(path, ids=flat, lengths=lengths, **more)


def _ids(found: Any) -> list[np.ndarray]:
    return np.split(found["ids"], np.cumsum(found["lengths"])[:-1])


def _save_pairs(folder: Path, name: str, made: TokenPairs) -> None:
    for side, encoded in (("chosen", made.chosen), ("rejected", made.rejected)):
        _save_ids(folder / f"{name}-{side}.npz", encoded.ids, start=encoded.start)
    gaps = {"gap": made.pairs.gap, "score_gap": made.pairs.score_gap}
    known = {key: gap for key, gap in gaps.items() if gap is not None}
    _save_ids(folder / f"{name}-prompts.npz", made.prompts, pair=made.pairs.ids, **known)
    with (folder / f"{name}.jsonl").open("w") as file:
        file.writelines(json.dumps(text) + "\n" for text in made.texts)


def _load_preferences(folder: Path) -> Preferences:
    return _loaded(folder, _made(folder))


def _rows(folder: Path) -> dict[str, PackedRows]:
    return _packed(folder, _made(folder))


def _made(folder: Path) -> int:
    # a stage that was made anew is read anew
    return (folder / "key.json").stat().st_mtime_ns


@lru_cache(maxsize=4)
def _loaded(folder: Path, made: int) -> Preferences:
    splits = {}
    for name in SPLITS:
        sides = []
        for side in ("chosen", "rejected"):
            with np.load(folder / f"{name}-{side}.npz") as found:
                sides.append(Encoded(_ids(found), found["start"]))
        with np.load(folder / f"{name}-prompts.npz") as found:
            gaps = found.get("gap"), found.get("score_gap")
            pairs, prompts = chosen_over_rejected(found["pair"], *gaps), _ids(found)
        texts = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
        splits[name] = TokenPairs(pairs, sides[0], sides[1], prompts, texts)
    return Preferences(**splits, account=account.read((folder / ACCOUNT).read_text()))


@lru_cache(maxsize=4)
def _packed(folder: Path, made: int) -> dict[str, PackedRows]:
    preferences = _loaded(folder, made)
    splits = {name: getattr(preferences, name) for name in SPLITS}
    return {name: PackedRows(split.chosen, split.rejected) for name, split in splits.items()}
