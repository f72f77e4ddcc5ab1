"""A tiny reward model in the hub's format."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
)

from tests.data.made_tokenizers import tokenizer


def model_folder(folder: Path, kind: str = "plain", auto: Any = None, **config: Any) -> Path:
    """A small random model with its tokenizer, in the hub's format."""
    made = tokenizer(kind)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    settings = LlamaConfig(
        vocab_size=len(made) + 1, num_attention_heads=2, max_position_embeddings=256,
        pad_token_id=len(made), **{**sizes, "num_labels": 1, **config},
    )  # fmt: skip
    model = (auto or AutoModelForSequenceClassification).from_config(settings)
    with torch.no_grad():  # far enough apart that rewards differ
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
