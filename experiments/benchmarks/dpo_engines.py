"""The engines of `dpo_vs_trl`: ours, and TRL's DPOTrainer in three ways."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.dpo_pairs import Pairs, our_flops, passes, peer_flops
from experiments.benchmarks.llama_flops import SHAPES, Shape
from sympo.losses import Logistic
from sympo.margins import DPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.objective import Objective
from sympo.pipelines.reference import checkpoint_activations
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import Encoded

BETA, RATE, NORM = 0.1, 1e-6, 1.0


@dataclass(frozen=True)
class Engine:
    """One way to train. grouped: in batches of pairs of similar length."""

    name: str
    grouped: bool = False

    def train(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> None:
        """One optimizer step on each batch."""
        trainer = PreferenceTrainer(
            policy(arguments),
            pairs.rows,
            np.ones(len(pairs.start)),
            pairs.reference,
            Objective(DPO(BETA), Logistic()),
            Recipe(epochs=1, batch_size=len(batches[0]), learning_rate=RATE, max_grad_norm=NORM),
            seed=0,
            tokens=arguments.tokens,
        )
        trainer.scorer.model.train()
        for batch in batches:
            trainer.step(batch)

    def flops(self, shape: Shape, pairs: Pairs, batch: np.ndarray) -> float:
        """FLOPs of the matrix products of a step."""
        return our_flops(shape, pairs, [batch])


@dataclass(frozen=True)
class TRL(Engine):
    """TRL's trainer. liger: with Liger's kernels. most: pairs a pass, accumulated to a batch."""

    liger: bool = False
    most: int = 8

    def train(
        self, batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace
    ) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        from transformers import AutoTokenizer
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

        class Prepared(DPOTrainer):
            """Takes tokenized rows with their reference log-probabilities, in a given order."""

            def _prepare_dataset(self, dataset: Any, *_: object) -> Any:
                return dataset

            def _precompute_ref_logps(self, dataset: Any, *_: object) -> Any:
                return dataset

            def _get_train_sampler(self, *_: object) -> Any:
                return np.concatenate(batches).tolist()

        with tempfile.TemporaryDirectory() as folder:
            trainer = Prepared(
                llama(arguments),
                args=DPOConfig(
                    folder, beta=BETA, precompute_ref_log_probs=True, max_length=arguments.length,
                    per_device_train_batch_size=self.most,
                    gradient_accumulation_steps=len(passes(batches[0], self.most)),
                    max_steps=len(batches), learning_rate=RATE,
                    max_grad_norm=NORM, lr_scheduler_type="cosine", bf16=arguments.device != "cpu",
                    use_cpu=arguments.device == "cpu", use_liger_kernel=self.liger,
                    gradient_checkpointing=arguments.gradient_checkpointing,
                    dataloader_pin_memory=False, save_strategy="no",
                    logging_strategy="no", report_to="none", disable_tqdm=True,
                ),
                train_dataset=rows(pairs),
                processing_class=AutoTokenizer.from_pretrained(arguments.tokenizer),
                # the tokenizer's padding id is outside the model's vocabulary
                data_collator=DataCollatorForPreference(
                    pad_token_id=0, max_length=arguments.length
                ),
            )  # fmt: skip
            trainer.train()

    def flops(self, shape: Shape, pairs: Pairs, batch: np.ndarray) -> float:
        return peer_flops(shape, pairs, passes(batch, self.most))


OURS = Engine("ours")
PEERS = (
    TRL("TRL, default sampler"),
    TRL("TRL, group_by_length", grouped=True),
    TRL("TRL, group_by_length, Liger kernels", grouped=True, liger=True),
)


def peers(device: str) -> list[TRL]:
    """The peers that run on a device; prints a line if one does not."""
    lacks = ""
    if device == "cpu":
        lacks = "they need a GPU"
    elif find_spec("liger_kernel") is None:
        lacks = "liger-kernel is not installed (pip install liger-kernel)"
    if lacks:
        print(f"TRL runs without Liger kernels: {lacks}", flush=True)
    return [peer for peer in PEERS if not (peer.liger and lacks)]


def rows(pairs: Pairs) -> Any:
    """The pairs as a data set for TRL."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    columns = {
        "prompt_ids": [ids[:at] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
        "chosen_ids": [ids[at:] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
        "rejected_ids": [ids[at:] for ids, at in zip(pairs.rejected, pairs.start, strict=True)],
        "ref_chosen_logps": pairs.reference[:, 0],
        "ref_rejected_logps": pairs.reference[:, 1],
    }
    # without a given fingerprint the table is pickled for one, which failed under Python 3.12
    return Dataset(InMemoryTable.from_pydict(columns), fingerprint="pairs")


def llama(arguments: argparse.Namespace) -> Any:
    """The model that all engines train, with the same random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = SHAPES[arguments.shape]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=arguments.length,
        tie_word_embeddings=shape.tied,
    )
    with torch.device(arguments.device):
        return LlamaForCausalLM(config)


def policy(arguments: argparse.Namespace) -> Policy:
    model = llama(arguments)
    if arguments.gradient_checkpointing:
        checkpoint_activations(model)
    precision = "float32" if arguments.device == "cpu" else "bfloat16"
    made = Policy(model, precision, arguments.length, arguments.attention, arguments.compile)
    if made.note:  # a fallback is not measured for the operator
        print(made.note, flush=True)
    return made


def reference(
    pairs: Pairs, batches: Sequence[np.ndarray], arguments: argparse.Namespace
) -> np.ndarray:
    """Log-probabilities of the pairs in these batches under the initial model; 0 elsewhere."""
    used = np.unique(np.concatenate(batches))
    sides = [
        Encoded([side[i] for i in used], pairs.start[used])
        for side in (pairs.chosen, pairs.rejected)
    ]
    found = np.zeros((len(pairs.start), 2))
    found[used] = policy(arguments).score(PackedRows(*sides), arguments.tokens)
    return found
