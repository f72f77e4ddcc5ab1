"""The job that trains reward models of texts on noisy preference pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sympo.data.chat_format import PLAIN
from sympo.data.text_dataset import TRIED_FIRST
from sympo.evaluation.rewards import agreement, clean_metrics, gaps
from sympo.margins import Reward
from sympo.models.texts.classifiers import save, with_padding
from sympo.models.texts.reward_models import RewardModel
from sympo.outcomes import Scored, prompt_keys
from sympo.pipelines.baselines import baselines
from sympo.pipelines.cell import Cell, Same, fingerprint
from sympo.pipelines.pair_files import SPLITS
from sympo.pipelines.preference import (
    PreferenceJob,
    Run,
    check_lengths,
    check_model,
)
from sympo.pipelines.preference_training import Training
from sympo.pipelines.reference import Reference, checkpoint_activations
from sympo.pipelines.shared_stages import Shared, drawing, tell_account
from sympo.pipelines.text_cleaning import clean
from sympo.protocols.jobs import Listener
from sympo.protocols.models import Scorer, Splittable
from sympo.ranges import Amount, Positive
from sympo.types import Account, BadArgument, BadInput, Evaluation, PreferencePairs, taken, within

Texts = Sequence[Mapping[str, Any]]
# ends a response in the plain template
END = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"


@dataclass(frozen=True, kw_only=True)
class TextRewardModelJob(PreferenceJob):
    """Trains a reward model on noisy pairs of texts, and evaluates it on clean ones.

    reference: the policy whose responses form the pairs; None for data sets that contain responses.
    save_model: whether to save the model in the cell's folder, in the hub's format.
    """

    identity: ClassVar[str] = "text_reward_model"

    learning_rate: Positive = 1e-5
    warmup_steps: Amount = 20
    reference: Reference | None = None
    save_model: bool = False

    headlines: ClassVar[tuple[str, ...]] = ("test/order_accuracy", "test/label_accuracy")
    leaves_samples: ClassVar[bool] = False
    distributes: ClassVar[bool] = False

    def check(self, cell: Cell) -> None:
        """Refuse a cell that cannot run; raises BadInput."""
        if cell.dataset.holds != "texts":
            raise BadInput(
                f"dataset={cell.name.dataset} has no prompts and responses, which this job needs"
            )
        if cell.model.answers or cell.model.reads == "images":
            raise BadInput(
                f"model={cell.name.model} is not a text reward model; use hub_reward, "
                "smollm2_reward, minilm_reward, tiny_reward or tfidf"
            )
        if cell.loss.average_log_ratio:
            raise BadInput(
                f"loss={cell.name.loss} needs log-ratios per token, which a reward model does not "
                "have; it works for job=policy"
            )
        if cell.dataset.from_policy and self.reference is None:
            raise BadArgument(
                "reference",
                None,
                "is not allowed: it must describe the policy that draws the responses of "
                f"dataset={cell.name.dataset}",
            )
        self.check_parts(cell)
        lengths = {"dataset.max_length": cell.dataset.max_length}
        if cell.model.reads == "tokens":
            check_lengths(cell, cell.model, f"model={cell.name.model}", lengths)
        elif not cell.dataset.from_policy:
            _check_words(cell.model, Same(cell.dataset))
        if self.reference is not None:
            sampled = cell.dataset.max_prompt_length + self.reference.sampling.max_new_tokens + 1
            key = "dataset.max_prompt_length + job.reference.sampling.max_new_tokens + 1"
            try:
                check_model(self.reference.model)
            except BadArgument as error:
                raise error.inside("reference.model") from error
            check_lengths(
                cell, self.reference.model, "job.reference.model", {**lengths, key: sampled}
            )

    def train(self, cells: Sequence[Cell], listener: Listener) -> None:
        """Train cells one after another, each from its last checkpoint if there is one."""
        for place, cell in enumerate(cells):
            run = _TextRun(cell, self, listener, place)
            clean(run, run.reader.rows, run.reader.scorer)
            training = Training(run, run.reader.rows, run.reader.scorer(cell.name.seed))
            with drawing(cell.device, cell.name.seed, "training"):
                training.train()

    def trained_with(self, cell: Cell) -> None:
        return None

    def content(self) -> str | None:
        if self.reference is None:
            return None
        try:
            return fingerprint(self.reference.model) or None
        except BadArgument as error:
            raise error.inside("reference.model") from error

    def lacks(self, cell: Cell) -> str:
        # models that are linear in words are not saved
        saved = cell.model.reads == "tokens" and self.save_model
        missing = saved and not (cell.folder.path / "model").is_dir()
        return "save_model=true" if missing else ""

    def shared(self, cell: Cell, listener: Listener) -> Shared:
        """The stages that the cell shares with other cells, including policies."""
        settings = cell.config["job"]["reference"] or {}
        parts = {key: settings[key] for key in ("model", "sft", "sampling") if key in settings}
        return Shared(cell, self.reference, parts, listener.note, listener.status)


class _TextRun(Run):
    """Runs one cell from its pairs to its last evaluation."""

    def __init__(self, cell: Cell, job: TextRewardModelJob, listener: Listener, place: int) -> None:
        self.text_job, shared = job, job.shared(cell, listener)
        reads = _Tokens if cell.model.reads == "tokens" else _Words
        self.reader = reads(cell, job, shared)
        tell_account(cell, self.reader.account, listener.note)
        pairs = self.reader.pairs
        texts = self.reader.texts
        self.prompts, keys = _prompts(texts["test"])
        self.scored = Scored(pairs["test"].ids, keys)
        cell.folder.keep_test_set(self.scored.test_set)
        self.fixed = baselines(
            shared, texts["train"], texts["test"], pairs["test"], self.prompts, self.scored
        )
        lengths = {name: rows.lengths for name, rows in self.reader.rows.items()}
        super().__init__(cell, job, listener, place, pairs, lengths, Reward(), {})

    def on_test(self, rewards: np.ndarray, scores: np.ndarray) -> Evaluation:
        pairs = self.pairs["test"]
        gap = gaps(rewards, pairs)
        truths = {"label_accuracy": pairs.label, "order_accuracy": pairs.gap}
        return Evaluation(
            clean_metrics(rewards, pairs, self.prompts),
            {
                name: self.scored.pack(agreement(gap, truth))
                for name, truth in truths.items()
                if truth is not None
            },
        )

    def keep(self, which: str, scorer: Any) -> None:
        """Do nothing: a reward model has no responses to keep."""

    def save(self, scorer: Any) -> None:
        if self.text_job.save_model:
            self.reader.save(scorer, self.cell.folder.unfinished / "model")


class _Tokens:
    """Reads pairs as token ids, for language models with a reward head."""

    def __init__(self, cell: Cell, job: TextRewardModelJob, shared: Shared) -> None:
        self.cell, self.job, data = cell, job, shared.preferences()
        self.account = data.account
        self.pairs = {name: getattr(data, name).pairs for name in SPLITS}
        self.texts: Mapping[str, Texts] = {name: getattr(data, name).texts for name in SPLITS}
        self.rows: Mapping[str, Splittable] = shared.rows()
        self.tokenizer, self.vocabulary = with_padding(shared.tokenizer, shared.vocabulary)

    def scorer(self, seed: int) -> Scorer:
        model = self.cell.model
        built = model.adapt(model.build(self.vocabulary, seed), seed)
        if self.job.gradient_checkpointing:
            checkpoint_activations(built)
        longest = self.cell.dataset.max_length
        return RewardModel(
            built.to(self.cell.device), self.job.precision, longest, self.job.attention
        )

    def save(self, scorer: Any, folder: Path) -> None:
        scorer.use_default_attention()
        save(scorer.model, self.tokenizer, PLAIN + END, folder)


class _Words:
    """Reads responses as word counts, for models that are linear in them."""

    def __init__(self, cell: Cell, job: TextRewardModelJob, shared: Shared) -> None:
        self.cell = cell
        if cell.dataset.from_policy:
            data = shared.preferences()
            splits = {name: getattr(data, name) for name in SPLITS}
            pairs = {name: split.pairs for name, split in splits.items()}
            texts = {name: split.texts for name, split in splits.items()}
            found = _worded(cell.model, pairs, texts, data.account)
        else:
            found = _released(cell.model, Same(cell.dataset))
        self.pairs, self.rows, self.texts, self.account = found

    def scorer(self, seed: int) -> Scorer:
        built: Scorer = self.cell.model.build(self.rows["train"]).to(self.cell.device)
        return built

    def save(self, scorer: Scorer, folder: Path) -> None:
        """Do nothing: the hub has no format for these models."""


Worded = tuple[dict[str, PreferencePairs], dict[str, Splittable], Mapping[str, Texts], Account]


@lru_cache(maxsize=2)
def _released(model: Any, same: Same) -> Worded:
    # shared by the cells of a sweep: counting words takes longer than training on the counts
    texts = {name: [vars(pair) for pair in same.part.splits[name].pairs] for name in SPLITS}
    pairs = {name: same.part.splits[name].preferences for name in SPLITS}
    return _worded(model, pairs, texts, same.part.account())


def _worded(
    model: Any,
    pairs: Mapping[str, PreferencePairs],
    texts: Mapping[str, Texts],
    account: Account,
) -> Worded:
    """Drop pairs whose responses have the same words; returns the others, their features, their
    texts, and the account of rows including the dropped pairs."""
    kept = {name: np.flatnonzero(~_alike(model, texts[name], name)) for name in SPLITS}
    left = {name: [texts[name][int(i)] for i in index] for name, index in kept.items()}
    with within("model"):
        features = model.features(
            _sides(left["train"]), [_sides(left[name]) for name in SPLITS[1:]]
        )
    rows = dict(zip(SPLITS, features, strict=True))
    splits = {
        name: split.after(
            {"dropped for two answers with the same words": len(texts[name]) - len(kept[name])},
            {"pairs differ only in words that are too rare in training": int(rows[name].tied)},
        )
        for name, split in account.splits.items()
    }
    chosen = {name: taken(pairs[name], index) for name, index in kept.items()}
    return chosen, rows, left, replace(account, splits=splits)


def _alike(model: Any, texts: Texts, split: str) -> np.ndarray:
    found: np.ndarray = model.alike(*_sides(texts))
    if found.all():
        raise BadInput(
            f"dataset: none of the {len(texts)} {split} pairs is usable: {len(texts)} dropped for "
            "two answers with the same words"
        )
    return found


@lru_cache(maxsize=8)
def _check_words(model: Any, same: Same) -> None:
    """Refuse splits in which every pair's responses have the same words; raises BadInput."""
    for name in SPLITS:
        texts = [vars(pair) for pair in same.part.splits[name].pairs]
        if model.alike(*_sides(texts[:TRIED_FIRST])).all():
            _alike(model, texts, name)


def _sides(texts: Texts) -> list[list[str]]:
    return [[text[side] for text in texts] for side in ("chosen", "rejected")]


def _prompts(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """The index (equal for equal prompts) and the key of each pair's prompt; both (n,)."""
    keys = prompt_keys(text["prompt"] for text in texts)
    return np.unique(keys, return_inverse=True)[1], keys
