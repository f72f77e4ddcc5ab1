"""A Llama with the tokenizer of SmolLM in miniature, in a GGUF file and as a model."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ċ Ċ", "h e", "Ġ h"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tokens() -> list[str]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*SPECIAL, *letters, *(merge.replace(" ", "") for merge in MERGES)]


def model() -> LlamaForCausalLM:
    """With 4 heads on 2 key heads, so that reordered rows show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokens()), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0}, rms_norm_eps=1e-5,
            initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=2,
            tie_word_embeddings=True,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()


def rotated_in_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows as llama.cpp wants them, by its own converter's formula."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        .swapaxes(1, 2)
        .reshape(weight.shape)
    )


def write(file: Path, made: LlamaForCausalLM, pre: str = "smollm") -> None:
    """Write a model to a GGUF file; its 4-bit weights are rounded in the model, too."""
    import gguf

    writer = gguf.GGUFWriter(file, "llama")
    config = made.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(500.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens())
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens()) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    weights = made.state_dict()
    for name, place in _places(config.num_hidden_layers).items():
        weight = weights[place].numpy()
        part = name.split(".")[-2]
        kind = gguf.GGMLQuantizationType.Q4_1 if "ffn" in name and weight.ndim == 2 else None
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        stored: Any = rotated_in_pairs(weight, heads[part]) if part in heads else weight
        if kind is not None:
            stored = gguf.quants.quantize(stored, kind)
            weights[place].copy_(torch.from_numpy(gguf.dequantize(stored, kind)))
        writer.add_tensor(name, np.ascontiguousarray(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _places(layers: int) -> dict[str, str]:
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
    }
    return whole | {
        f"blk.{i}.{name}.weight": f"model.layers.{i}.{place}.weight"
        for i in range(layers)
        for name, place in NAMES.items()
    }
