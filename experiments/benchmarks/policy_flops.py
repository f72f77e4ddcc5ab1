"""Counts what DPO asks of a device, ours against TRL's: FLOPs and activations of a pair.

    python -m experiments.benchmarks.policy_flops --data FOLDER [--micro-batch 8]

The --data folder holds `hh-rlhf`, `ultrafeedback_binarized` and `gpt2_tokenizer`. Nothing is timed.
The lengths are those of the data: HH cut at 512 tokens and UltraFeedback at 2,048, in batches of
64 pairs, which TRL takes --micro-batch at a time, each pass padded to its longest side. FLOPs are
those of all matrix products, forward and backward (`llama_flops`). TRL's by ours is the ratio of
speeds if both ran at equal FLOP rates: kernels that wait, casts and the optimizer, which takes as
long for both, come on top.

Activations are what the layers keep for the backward pass, in bytes of a pair, without gradient
checkpointing: counted by autograd on one layer of the model at two lengths, whose difference leaves
the weights out, and proportional to the tokens, with bfloat16 products. Logits, which both engines
compute in chunks, and the copies of keys and values in attention are not counted.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.llama_flops import PEAK_FLOPS, SHAPES, Shape
from experiments.benchmarks.preference_pairs import Pairs, our_flops, passes, peer_flops, read
from experiments.benchmarks.results import write

BATCH = 64
DATA = {"HH": ("hh-rlhf", 512), "UltraFeedback": ("ultrafeedback_binarized", 2048)}
MODELS = {"1B": "llama-3.2-1b", "3B": "llama-3.2-3b"}
WAYS = {"TRL": False, "TRL, group_by_length": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--micro-batch", type=int, default=8, help="TRL's pairs in a pass")
    parser.add_argument("--pairs", type=int, default=2_500, help="of each data set")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    kept = {name: kept_bytes(SHAPES[shape]) for name, shape in MODELS.items()}
    rows: list[dict[str, Any]] = []
    for title, (folder, length) in DATA.items():
        pairs = read(
            argparse.Namespace(
                data=arguments.data / folder, tokenizer=arguments.data / "gpt2_tokenizer",
                length=length, pairs=arguments.pairs, batch=BATCH, shape="llama-3.2-1b",
            )
        )  # fmt: skip
        for model, shape in MODELS.items():
            name = f"{model}, {title} {length}"
            rows += counted(name, SHAPES[shape], pairs, kept[model], arguments.micro_batch)
    print(
        write(
            arguments.out / "policy_flops.json",
            rows,
            device="none: counted, not timed",
            batch=BATCH,
            micro_batch=arguments.micro_batch,
            pairs=arguments.pairs,
            activation_bytes_per_token=kept,
        )
    )


def counted(
    name: str, shape: Shape, pairs: Pairs, kept: float, most: int
) -> Iterator[dict[str, Any]]:
    """Rows of the results: FLOPs and activations of a pair, ours against each of TRL's ways.

    kept: bytes of a token's activations. most: TRL's pairs in a pass.
    """
    for way, grouped in WAYS.items():
        batches = pairs.epoch(BATCH, grouped)
        parts = [part for batch in batches for part in passes(batch, most)]
        count = BATCH * len(batches)
        # our batches are random: the same pairs in another order
        ours = our_flops(shape, pairs, batches) / count
        tokens = sum(int(pairs.rows.tokens[batch].sum()) for batch in batches) / count
        padded = sum(2 * len(part) * int(pairs.longer[part].max()) for part in parts) / count
        peer = peer_flops(shape, pairs, parts) / count
        ideal = min(PEAK_FLOPS.values())
        yield row(f"{name}, {way}: GFLOP a pair", ours / 1e9, peer / 1e9, "GFLOP a pair") | {
            "limit_pairs_per_s_at_peak": ideal / ours,
            "limit_pairs_per_s_at_peak_of_peer": ideal / peer,
        }
        yield row(f"{name}, {way}: tokens a pair", tokens, padded, "tokens a pair")
        yield row(
            f"{name}, {way}: activations a pair",
            kept * tokens / 2**20, kept * padded / 2**20, "MiB a pair in a pass",
        )  # fmt: skip


def row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": peer / ours}


def kept_bytes(shape: Shape) -> float:
    """Bytes that the layers of a Llama keep of a token for the backward pass."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    layer, rotary = LlamaDecoderLayer(config, 0), LlamaRotaryEmbedding(config)

    def kept(tokens: int) -> int:
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        hidden = torch.zeros(1, tokens, shape.hidden, requires_grad=True)
        positions = rotary(hidden, torch.arange(tokens)[None])
        saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with torch.autocast("cpu", dtype=torch.bfloat16), saved:
            out = layer(hidden, position_embeddings=positions)
        # cosines and sines are the same tensors in all layers
        shared = sum(sizes.get(part.untyped_storage().data_ptr(), 0) for part in positions)
        del out
        return sum(sizes.values()) - shared

    few, more = 32, 96
    return shape.layers * (kept(more) - kept(few)) / (more - few)


if __name__ == "__main__":
    main()
