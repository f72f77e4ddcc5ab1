"""Counts the bytes of weights and gradients that a step of a policy moves besides its products.

    python -m experiments.benchmarks.policy_traffic

A step of DPO on a Llama-3.2-1B, 64 pairs in 4 passes, bfloat16 products on float32 weights, runs on
fake tensors: nothing is computed or timed. Operators on tensors shaped like weights count what they
read and write, as if there were no cache; matrix products and look-ups of embeddings are left out,
since they are the same both ways. The peer is what `torch.autocast` and the plain operators do:
weights are cast in every pass, gradients cast back and added, then divided, clipped and read by
AdamW. Needs torch and transformers, but no GPU, data, account or network.
"""

import argparse
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

from experiments.benchmarks.engines import config
from experiments.benchmarks.llama_flops import SHAPES
from experiments.benchmarks.results import write
from experiments.benchmarks.step_traffic import FREE
from sympo.models.texts import token_logps
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.shared_prefix_attention import NAME, register
from sympo.training.optimizer import Optimizer, Recipe
from sympo.types import Encoded

SHAPE, PAIRS, PASSES, PROMPT, RESPONSE = "llama-3.2-1b", 64, 4, 120, 60
PEER = "torch.autocast and the plain operators"
BANDWIDTH = 4.8e12  # bytes/s of an H200
LEFT_OUT = FREE | {"mm", "addmm", "embedding", "device"}
KINDS = {
    **dict.fromkeys(("_to_copy", "copy_"), "casts"),
    **dict.fromkeys(("_foreach_div_", "mul_", "linalg_vector_norm"), "norm and scale"),
    "_fused_adamw_": "AdamW",
}
REST = "additions to gradients"


class WeightTraffic(TorchDispatchMode):
    """Counts the bytes of weight-shaped tensors that operators read and write, by kind."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.shapes = {p.shape for p in model.parameters() if p.dim() > 1}
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        out = function(*arguments, **(named or {}))
        name = function.overloadpacket.__name__
        if name in LEFT_OUT:
            return out
        leaves = torch.utils._pytree.tree_leaves
        schema = function._schema.arguments
        written = {
            id(x): x
            for one, value in zip(schema, arguments, strict=False)
            if one.alias_info is not None and one.alias_info.is_write
            # AdamW writes gradients back only if it divides them
            if one.name != "grads" or (named or {}).get("grad_scale") is not None
            for x in leaves(value)
        }
        read = [x for x in leaves((arguments, named)) if name != "copy_" or id(x) not in written]
        written |= {id(x): x for x in leaves(out)}
        moved = sum(self._bytes(x) for x in (*read, *written.values()))
        self.bytes[KINDS.get(name, REST)] += moved
        return out

    def _bytes(self, x: Any) -> int:
        return x.nbytes if isinstance(x, Tensor) and x.shape in self.shapes else 0


class Counted(Policy):
    """A policy without the self-check, which needs values."""

    def _takes_shared_prefixes(self, longest: int) -> bool:
        register()
        self.model.set_attn_implementation(NAME)
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    # as on a GPU
    cast(Any, token_logps).CHUNK_ELEMENTS = token_logps.CHUNK_ELEMENTS_ON_GPU
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
    weights, ours, peer = 0, Counter[str](), Counter[str]()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for copies, found in ((True, ours), (False, peer)):
            policy = made()
            if not copies:
                policy.copies = None
            weights = sum(p.numel() for p in policy.model.parameters())
            found.update(counted(policy, copies))
    kinds = [*peer]
    for side in (ours, peer):
        side["all"] = sum(side.values())
    rows = [row(kind, ours[kind], peer[kind], weights) for kind in (*kinds, "all")]
    bounds = [1e3 * side["all"] / BANDWIDTH for side in (ours, peer)]
    rows.append({"name": "a step: all, at an H200's 4.8 TB/s", "unit": "ms", "ours": bounds[0],
                 "peer": bounds[1], "ratio": bounds[1] / bounds[0], "peer_is": PEER})  # fmt: skip
    for one in rows:
        print(f"{one['name']:36s}{one['ours']:8.1f}{one['peer']:8.1f} {one['unit']}")
    print(write(arguments.out / "policy_step_traffic.json", rows, device="none: counted"))


def row(kind: str, ours: float, peer: float, weights: int) -> dict[str, Any]:
    return {
        "name": f"a step: {kind}", "ours": ours / 1e9, "peer": peer / 1e9, "unit": "GB",
        "ratio": peer / ours if ours else None,
        "ours_bytes_a_weight": ours / weights, "peer_bytes_a_weight": peer / weights,
        "peer_is": PEER,
    }  # fmt: skip


def made() -> Counted:
    longest = PROMPT + RESPONSE
    model = LlamaForCausalLM(config(SHAPES[SHAPE], longest, filler=0))
    return Counted(model, "bfloat16", longest)


def counted(policy: Policy, ours: bool) -> Counter[str]:
    """The traffic of the second step, by kind."""
    model, index = policy.model.train(), np.arange(PAIRS // PASSES)
    side = Encoded([np.zeros(PROMPT + RESPONSE, np.int64)] * len(index), index * 0 + PROMPT)
    rows = PackedRows(side, side)
    optimizer = Optimizer(model, Recipe(max_grad_norm=1.0), steps=2)
    for _ in range(2):
        with WeightTraffic(model) as traffic:
            for _ in range(PASSES):
                policy.scores(rows, index).sum().backward()
            if ours:
                optimizer.step(float(PAIRS))
            else:
                plain_step(optimizer)
    return traffic.bytes


def plain_step(optimizer: Optimizer) -> None:
    """Division, clipping and AdamW one after another."""
    gradients = [p.grad for p in optimizer.parameters if p.grad is not None]
    torch._foreach_div_(gradients, float(PAIRS))
    nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
    optimizer.adam.step()
    optimizer.adam.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
