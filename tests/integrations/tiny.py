"""A tiny policy, its reference and a few preferences, for TRL's trainers on a CPU."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)
from trl import DPOConfig

WORDS = ["<pad>", "<bos>", "<eos>", *"abcdefghijklmnopqrstuvwxyz"]

# answers of different lengths, so that what is averaged over tokens differs from what is summed
ROWS = [
    {"prompt": "a b c ", "chosen": "d e f g", "rejected": "h i"},
    {"prompt": "z ", "chosen": "y", "rejected": "x w v u t s"},
    {"prompt": "k l m n o p ", "chosen": "q r", "rejected": "q s t"},
    {"prompt": "b b ", "chosen": "c d c d c", "rejected": "e"},
    {"prompt": "t u v ", "chosen": "a b c", "rejected": "c b a"},
    {"prompt": "m ", "chosen": "n o p q r s t", "rejected": "n n n"},
]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,  # so large that the answers' log-ratios are of some nats
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def experts(seed: int) -> MixtralForCausalLM:
    """A mixture of experts, whose routers have an auxiliary loss."""
    torch.manual_seed(seed)
    return MixtralForCausalLM(
        MixtralConfig(**SIZES, num_local_experts=4, output_router_logits=True)
    )


def settings(folder: Path, **changed: Any) -> DPOConfig:
    return DPOConfig(
        **{
            "output_dir": str(folder),
            "beta": 0.5,
            "per_device_train_batch_size": len(ROWS),
            "precompute_ref_log_probs": True,
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
            "logging_steps": 1,
            "save_strategy": "no",
        }
        | changed
    )


def trainer(kind: Any, args: DPOConfig, **keywords: Any) -> Any:
    """A trainer of this kind: the policy is seed 0, its reference seed 1."""
    keywords = {"model": model(0), "ref_model": model(1)} | keywords
    return kind(
        args=args,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer(),
        **keywords,
    )


def value_and_gradients(trainer: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The loss of the whole data set as one batch, and its gradients."""
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    return loss.detach(), list(torch.autograd.grad(loss, trained))
