"""Reads a Llama from a GGUF file, llama.cpp's format, and writes it in the hub's format.

`transformers` reads these files as well, but how depends on its version and on the kernels that are
installed, and it splits text before numbers differently from the model's own tokenizer, so that
some texts get other tokens (`\\n\\n1.` for example).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

# llama.cpp's names of weights, and those of `transformers`
WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
OF_LAYER = {
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
CONTROL = 3  # the type of special tokens

Fields = Mapping[str, Any]


def convert(file: Path, folder: Path) -> None:
    """Write config, float32 weights and tokenizer of a Llama in a GGUF file to a folder.

    Weights of any quantization are spread to float32 without further rounding. Raises BadInput if
    the package `gguf` is missing, or for files that are not a Llama with SmolLM's tokenizer.
    """
    try:
        from gguf import GGUFReader, dequantize
    except ImportError as error:
        raise BadInput(
            f"{file} is read with the package gguf, which is not installed: run pip install gguf"
        ) from error
    from safetensors.torch import save_file

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kinds = (fields["general.architecture"], fields["tokenizer.ggml.pre"])
    if kinds != ("llama", "smollm"):
        raise BadInput(f"{file} is not a Llama with the tokenizer of SmolLM, but {kinds}")
    weights = {
        tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors
    }
    _tokenizer(fields).save_pretrained(folder)
    _config(fields, tied="output.weight" not in weights).save_pretrained(folder)
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    renamed = {}
    for name, values in weights.items():
        part = name.removesuffix(".weight").rpartition(".")[2]
        values = _rotated_in_halves(values, heads[part]) if part in heads else values
        renamed[_renamed(name)] = torch.from_numpy(np.array(values, np.float32, order="C"))
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def _renamed(name: str) -> str:
    """The name in `transformers` of a weight such as `blk.3.attn_q.weight`."""
    name = name.removesuffix(".weight")
    if name in WHOLE:
        return f"{WHOLE[name]}.weight"
    _, layer, part = name.split(".")
    return f"model.layers.{layer}.{OF_LAYER[part]}.weight"


def _rotated_in_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head reordered for rotary embeddings: llama.cpp rotates pairs of neighbours,
    `transformers` the first half with the second. (heads x size, inputs), as is the result."""
    pairs = weight.reshape(heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _config(fields: Fields, tied: bool) -> "LlamaConfig":
    from transformers import LlamaConfig

    tokens = {name: fields[f"tokenizer.ggml.{key}_token_id"] for name, key in _SPECIAL.items()}
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        **{f"{name}_token_id": number for name, number in tokens.items() if name != "unk"},
    )


_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def _tokenizer(fields: Fields) -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer in which each digit is a token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    made.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    special = [token for token, kind in kinds if kind == CONTROL]
    made.add_special_tokens([AddedToken(one, normalized=False, special=True) for one in special])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        model_max_length=fields["llama.context_length"],
        chat_template=fields["tokenizer.chat_template"],
        clean_up_tokenization_spaces=False,
        **{
            f"{n}_token": tokens[fields[f"tokenizer.ggml.{k}_token_id"]]
            for n, k in _SPECIAL.items()
        },
    )
