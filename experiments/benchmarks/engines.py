"""Engines that train one Llama on the same pairs: ours, and a trainer of TRL in three ways."""

import argparse
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import torch

from experiments.benchmarks.isolated import Failure
from experiments.benchmarks.llama_flops import SHAPES, Shape
from experiments.benchmarks.preference_pairs import Pairs, our_flops, passes, peer_flops
from sympo.losses import Logistic
from sympo.models.texts.scorers import PretrainedScorer
from sympo.objective import Objective
from sympo.pipelines.reference import checkpoint_activations
from sympo.protocols.models import Margin
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer

RATE, NORM = 1e-6, 1.0


@dataclass(frozen=True)
class PeerParts:
    """A trainer of TRL: its classes, the settings that only it has, and the pairs as columns."""

    trainer: Any
    config: Any
    settings: Mapping[str, Any]
    collator: Any
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Task(ABC):
    """What the engines train, with the logistic loss.

    logits: whether the model scores tokens by a head as wide as the vocabulary.
    """

    logits: ClassVar[bool]
    margin: ClassVar[Margin]
    scorer: ClassVar[type[PretrainedScorer]]

    @abstractmethod
    def model(self, config: Any) -> Any:
        """A model with random weights from the config of a Llama."""

    @abstractmethod
    def peer(self, pairs: Pairs, arguments: argparse.Namespace) -> PeerParts:
        """The parts of TRL's trainer."""

    def with_reference(
        self, pairs: Pairs, batches: Sequence[np.ndarray], arguments: argparse.Namespace
    ) -> Pairs | Failure:
        """The pairs with the reference log-probabilities that training on these batches needs."""
        return pairs


@dataclass(frozen=True)
class Engine:
    """Our trainer. grouped: in batches of pairs of similar length."""

    task: Task
    name: str = "ours"
    grouped: bool = False

    def trainer(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> PreferenceTrainer:
        return PreferenceTrainer(
            scorer(self.task, pairs, arguments),
            pairs.rows,
            np.ones(len(pairs.start)),
            pairs.reference,
            Objective(self.task.margin, Logistic()),
            Recipe(
                epochs=1, batch_size=len(batches[0]), learning_rate=RATE, warmup_steps=0,
                max_grad_norm=NORM,
            ),
            seed=0,
            tokens=arguments.tokens,
        )  # fmt: skip

    def train(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> None:
        """One optimizer step on each batch."""
        trainer = self.trainer(batches, pairs, arguments)
        trainer.scorer.model.train()
        for batch in batches:
            trainer.step(batch)

    def flops(self, shape: Shape, pairs: Pairs, batch: np.ndarray) -> float:
        """FLOPs of the matrix products of a step."""
        return our_flops(shape, pairs, [batch], self.task.logits)


@dataclass(frozen=True)
class TRL(Engine):
    """TRL's trainer. liger: with Liger's kernels. most: pairs a pass, accumulated to a batch."""

    liger: bool = False
    most: int = 8

    def trainer(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> Any:
        os.environ["HF_HUB_OFFLINE"] = "1"
        from transformers import AutoTokenizer

        parts, cpu = self.task.peer(pairs, arguments), arguments.device == "cpu"
        steps_per_epoch = len(pairs.start) // len(batches[0])

        class Prepared(parts.trainer):  # type: ignore[name-defined]
            """Takes tokenized rows in a given order, at the learning rates of our trainer."""

            def _prepare_dataset(self, dataset: Any, *_: object) -> Any:
                return dataset

            def _precompute_ref_logps(self, dataset: Any, *_: object) -> Any:
                return dataset  # which has them

            def _get_train_sampler(self, *_: object) -> Any:
                return np.concatenate(batches).tolist()

            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                return super().create_scheduler(steps_per_epoch, optimizer)

        # filler ends no text, so that classifiers read the reward at a text's end
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pairs.filler)
        model = llama(self.task, pairs, arguments)
        if arguments.compile:
            # as in our scorers
            for layer in model.base_model.layers:
                layer.compile(dynamic=True)
        return Prepared(
            model,
            args=parts.config(
                tempfile.gettempdir(),  # where nothing is saved
                max_length=arguments.length, per_device_train_batch_size=self.most,
                gradient_accumulation_steps=len(passes(batches[0], self.most)),
                max_steps=len(batches), learning_rate=RATE, max_grad_norm=NORM,
                lr_scheduler_type="cosine", bf16=not cpu, use_cpu=cpu,
                use_liger_kernel=self.liger,
                gradient_checkpointing=arguments.gradient_checkpointing,
                dataloader_pin_memory=False, save_strategy="no", logging_strategy="no",
                report_to="none", disable_tqdm=True, **parts.settings,
            ),
            train_dataset=dataset(parts.columns),
            processing_class=tokenizer,
            data_collator=parts.collator,
        )  # fmt: skip

    def train(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> None:
        self.trainer(batches, pairs, arguments).train()

    def flops(self, shape: Shape, pairs: Pairs, batch: np.ndarray) -> float:
        return peer_flops(shape, pairs, passes(batch, self.most), self.task.logits)


def peers(task: Task, device: str) -> list[TRL]:
    """TRL's ways that run on a device; prints a line if one does not."""
    lacks = ""
    if device == "cpu":
        lacks = "they need a GPU"
    elif find_spec("liger_kernel") is None:
        lacks = "liger-kernel is not installed (pip install liger-kernel)"
    ways = [
        TRL(task, "TRL, default sampler"),
        TRL(task, "TRL, group_by_length", grouped=True),
        TRL(task, "TRL, group_by_length, Liger kernels", grouped=True, liger=True),
    ]
    if lacks:
        print(f"TRL runs without Liger kernels: {lacks}", flush=True)
    return [way for way in ways if not (way.liger and lacks)]


def dataset(columns: Mapping[str, Any]) -> Any:
    """Columns as a data set for TRL."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    # without a given fingerprint the table is pickled for one, which failed under Python 3.12
    return Dataset(InMemoryTable.from_pydict(dict(columns)), fingerprint="pairs")


def llama(task: Task, pairs: Pairs, arguments: argparse.Namespace) -> Any:
    """The model that all engines train, with the same random weights."""
    torch.manual_seed(0)
    with torch.device(arguments.device):
        return task.model(config(SHAPES[arguments.shape], arguments.length, pairs.filler))


def config(shape: Shape, longest: int, filler: int) -> Any:
    """The config of a Llama of this shape; filler: the padding token."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=longest,
        tie_word_embeddings=shape.tied,
        pad_token_id=filler,
    )


def scorer(task: Task, pairs: Pairs, arguments: argparse.Namespace) -> PretrainedScorer:
    """Our scorer of that model."""
    model = llama(task, pairs, arguments)
    if arguments.gradient_checkpointing:
        checkpoint_activations(model)
    precision = "float32" if arguments.device == "cpu" else "bfloat16"
    made = task.scorer(model, precision, arguments.length, arguments.attention)
    if arguments.compile and (failure := made.compile_layers(arguments.length)):
        raise RuntimeError(f"the layers do not compile: {failure}")
    if made.note:  # a fallback is not measured for the operator
        print(made.note, flush=True)
    return made
