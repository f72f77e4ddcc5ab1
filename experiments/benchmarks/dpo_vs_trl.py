"""Training pairs per second and peak memory, against TRL's DPOTrainer on one device.

    python -m experiments.benchmarks.dpo_vs_trl --data FOLDER --tokenizer FOLDER [--device cuda
        --shape llama-3.2-3b --length 2048 --batch 64 --micro-batch 4 8 16 --compile]

All engines take the same precomputed reference log-probabilities; beta is 0.1. See
`trl_comparison` for data, engines and measurement.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.benchmarks.engines import PeerParts, Task, scorer
from experiments.benchmarks.isolated import Failure, alone
from experiments.benchmarks.preference_pairs import Pairs
from experiments.benchmarks.trl_comparison import compare
from sympo.margins import DPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.types import Encoded

BETA = 0.1


@dataclass(frozen=True)
class DPOTask(Task):
    """A policy, with DPO's margins."""

    logits = True
    margin = DPO(BETA)
    scorer = Policy

    def model(self, config: Any) -> Any:
        from transformers import LlamaForCausalLM

        return LlamaForCausalLM(config)

    def with_reference(
        self, pairs: Pairs, batches: Sequence[np.ndarray], arguments: argparse.Namespace
    ) -> Pairs | Failure:
        logps = alone(reference, self, pairs, batches, arguments)
        return logps if isinstance(logps, Failure) else replace(pairs, reference=logps)

    def peer(self, pairs: Pairs, arguments: argparse.Namespace) -> PeerParts:
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

        return PeerParts(
            DPOTrainer,
            DPOConfig,
            {"beta": BETA, "precompute_ref_log_probs": True},
            DataCollatorForPreference(pad_token_id=pairs.filler, max_length=arguments.length),
            {
                "prompt_ids": [ids[:at] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
                "chosen_ids": [ids[at:] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
                "rejected_ids": [
                    ids[at:] for ids, at in zip(pairs.rejected, pairs.start, strict=True)
                ],
                "ref_chosen_logps": pairs.reference[:, 0],
                "ref_rejected_logps": pairs.reference[:, 1],
            },
        )


def reference(
    task: Task, pairs: Pairs, batches: Sequence[np.ndarray], arguments: argparse.Namespace
) -> np.ndarray:
    """Log-probabilities of the pairs in these batches under the initial model; 0 elsewhere."""
    used = np.unique(np.concatenate(batches))
    sides = [
        Encoded([side[i] for i in used], pairs.start[used])
        for side in (pairs.chosen, pairs.rejected)
    ]
    found = np.zeros((len(pairs.start), 2))
    found[used] = scorer(task, pairs, arguments).score(PackedRows(*sides), arguments.tokens)
    return found


def main() -> int:
    return compare(DPOTask(), "dpo_vs_trl", __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
