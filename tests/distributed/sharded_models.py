"""Tiny language models and the steps that tests of sharded models take with them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from sympo.distributed import clip_by_global_norm

SIZES = {
    "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 56, "max_position_embeddings": 32,
    "pad_token_id": 3,
}  # fmt: skip
# five sequences, so that two processes get unequal numbers
IDS = torch.randint(0, 61, (5, 9), generator=torch.Generator().manual_seed(0))


def llama(tied: bool) -> Any:
    torch.manual_seed(7)
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied)
    return transformers.AutoModelForCausalLM.from_config(config)


FAMILIES = {
    "gpt2": transformers.GPT2Config(
        vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=16, bos_token_id=1,
        eos_token_id=1,
    ),
    "gpt_neox": transformers.GPTNeoXConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=56, max_position_embeddings=16,
    ),
    "qwen3": transformers.Qwen3Config(**SIZES),
    "gemma3": transformers.Gemma3TextConfig(**SIZES),
    "mistral": transformers.MistralConfig(**SIZES),
    "scaled_positions": transformers.LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
        },
    ),
}  # fmt: skip


def family(name: str) -> Any:
    torch.manual_seed(7)
    return transformers.AutoModelForCausalLM.from_config(FAMILIES[name])


def adamw(model: nn.Module, **settings: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, **settings)


def loss(logits: Tensor) -> Tensor:
    return (
        logits.float().log_softmax(-1).square().sum()
        if logits.dtype == torch.bfloat16
        else (logits.log_softmax(-1).square().sum())
    )


def gradients(model: nn.Module, call: Callable[[], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.autograd.backward(loss(call()))
    found = whole((name, p.grad) for name, p in model.named_parameters())
    model.zero_grad()
    return found


def step(model: nn.Module, optimizer: torch.optim.Optimizer, ids: Tensor) -> float:
    """One clipped step on these sequences of this process; returns the norm of the gradient."""
    torch.autograd.backward(loss(model(ids).logits))
    norm = clip_by_global_norm(model.parameters(), most=0.5, divisor=len(IDS))
    optimizer.step()
    optimizer.zero_grad()
    return float(norm)


def whole(named: Iterable[tuple[str, Any]]) -> dict[str, Tensor]:
    return {
        name: (one.full_tensor() if hasattr(one, "full_tensor") else one).detach().clone()
        for name, one in named
    }


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest absolute difference between tensors of the same names."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - one).abs().max()) for name, one in expected.items())
