"""Training pairs per second and peak memory of reward models, against TRL's RewardTrainer.

    python -m experiments.benchmarks.reward_vs_trl --data FOLDER --tokenizer FOLDER [--device cuda
        --shape llama-3.2-1b --batch 64 --micro-batch 8 16 32 64 --compile]

A Llama with one output at the last token of a text. TRL's rewards are not centred and its dropout
is off, both by default. See `trl_comparison` for data, engines and measurement.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.engines import PeerParts, Task
from experiments.benchmarks.preference_pairs import Pairs
from experiments.benchmarks.trl_comparison import compare
from sympo.margins import Reward
from sympo.models.texts.reward_models import RewardModel


@dataclass(frozen=True)
class RewardTask(Task):
    """A reward model of texts."""

    logits = False
    margin = Reward()
    scorer = RewardModel

    def model(self, config: Any) -> Any:
        from transformers import LlamaForSequenceClassification

        config.num_labels = 1
        return LlamaForSequenceClassification(config)

    def peer(self, pairs: Pairs, arguments: argparse.Namespace) -> PeerParts:
        from trl.trainer.reward_config import RewardConfig
        from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

        return PeerParts(
            RewardTrainer,
            RewardConfig,
            # Liger's loss over the vocabulary would replace the forward pass of the classifier
            {"liger_kernel_config": {"fused_linear_cross_entropy": False}},
            DataCollatorForPreference(pad_token_id=pairs.filler),
            {"chosen_ids": pairs.chosen, "rejected_ids": pairs.rejected},
        )


def main() -> int:
    return compare(RewardTask(), "reward_vs_trl", __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
