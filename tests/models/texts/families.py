"""Families of language models in miniature: those that share prefixes exactly, and the rest."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import Group

transformers = pytest.importorskip("transformers")

WORDS, LONGEST, WINDOW = 97, 60, 7
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
DENSE = SIZES | {"intermediate_size": 64}
GROUPED = DENSE | {"num_key_value_heads": 2}
OF_HEADS = GROUPED | {"head_dim": 8}
GPT2 = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
OPT = SIZES | {"ffn_dim": 64, "word_embed_proj_dim": 32}
LOCAL = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": WINDOW,
    "max_position_embeddings": 128,
}

EXACT = {
    "llama": ("LlamaConfig", GROUPED),
    "llama-tied": ("LlamaConfig", GROUPED | {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", GROUPED),
    "qwen3": ("Qwen3Config", OF_HEADS),
    "mistral": ("MistralConfig", GROUPED | {"sliding_window": None}),
    "mistral-window": ("MistralConfig", GROUPED | {"sliding_window": WINDOW}),
    "gemma": ("GemmaConfig", OF_HEADS),
    "gemma3": ("Gemma3TextConfig", OF_HEADS | {"sliding_window": WINDOW}),
    "gpt-neox": ("GPTNeoXConfig", DENSE),
    "gpt2": ("GPT2Config", GPT2),
    "phi3": ("Phi3Config", DENSE),
    "opt": ("OPTConfig", OPT),
    "mixtral": ("MixtralConfig", GROUPED),
    "olmo2": ("Olmo2Config", GROUPED),
}
FALLS_BACK = {
    "gemma2": ("Gemma2Config", OF_HEADS),  # soft caps on the scores
    "bloom": ("BloomConfig", {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mamba": ("MambaConfig", {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2}),
    "falcon": ("FalconConfig", SIZES),
    "gpt-neo": ("GPTNeoConfig", LOCAL),
}


def build(kind: str, settings: dict[str, Any]) -> Any:
    """A model whose weights are so large that a token too many or too few in sight shows."""
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**settings)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return model


def gradients(model: Any, logps: Tensor) -> dict[str, Tensor]:
    """Gradients of a sum in which every sequence has its own weight, as with losses."""
    model.zero_grad()
    weights = torch.linspace(-1, 1, logps.numel()).view_as(logps)
    (weights * logps).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def blind(mask: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mask in which the second side sees the first."""

    def wrong(group: Group, window: int | None) -> Tensor:
        place = torch.arange(group.longest)
        return (place[:, None] >= place).expand_as(mask(group, window))

    return wrong
