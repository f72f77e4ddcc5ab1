"""In half precision, variable-length attention is exact up to the roundings of its arithmetic.

On a GPU by torch's operators, elsewhere by the emulation, which rounds where FlashAttention does.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sympo.models.texts import scorers
from sympo.models.texts.packed_rows import PackedBatch, PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.shared_prefix_attention import VariableLength, rounding
from sympo.models.texts.varlen_attention import Operator, operators
from tests.models.texts.families import EXACT, LONGEST, WORDS, build, gradients
from tests.models.texts.made_rows import draw
from tests.models.texts.test_shared_prefix_attention import visible
from tests.models.texts.varlen_emulation import emulate

on_cuda = (
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
)
EVERY = [
    pytest.param(emulate, "cpu", id="emulation"),
    *(
        pytest.param(operator, "cuda", id=f"operator {number}", marks=on_cuda)
        for number, operator in enumerate(operators())
    ),
]
HEADS, KEY_HEADS, SIZE, SCALE = 6, 2, 64, 0.15


def pack(device: str, sides: int = 2) -> PackedBatch:
    return PackedRows(*draw(rows=4, longest=200, vocabulary=50)[:sides]).pack(np.arange(4), device)


def exact(inputs: list[Tensor], direction: Tensor, seen: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Output and gradients in float64, each with the bound on its error.

    p_ij are the weights, a_i = sum_j p_ij |v_j|, D_i = dO_i . O_i, and u the unit roundoff. Weights
    and results are rounded: 2 u a_i for an output. So D_i is off by 2 u |dO_i| . a_i, and the
    rounded p_ij (dO_i . v_j - D_i) by 3 u p_ij e_ij, e_ij = |dO_i| . (|v_j| + a_i). Results add one
    rounding; gradients of keys and values are summed over heads and over copies of a prefix, which
    adds two.
    """
    q, k, v = (x.detach()[0].double() for x in inputs)
    k, v = (x.repeat_interleave(HEADS // KEY_HEADS, 0) for x in (k, v))
    do = direction[0].transpose(0, 1).double()
    p = (SCALE * q @ k.mT).masked_fill(~seen, -torch.inf).softmax(-1)
    out, a = p @ v, p @ v.abs()
    ds = p * (do @ v.mT - (do * out).sum(-1, keepdim=True))
    e = p * (do.abs() @ v.abs().mT + (do.abs() * a).sum(-1, keepdim=True))

    def grouped(x: Tensor) -> Tensor:
        return x.unflatten(0, (KEY_HEADS, -1)).sum(1)[None]

    found = [
        (out.transpose(0, 1)[None], a.transpose(0, 1)[None], 2),
        (SCALE * (ds @ k)[None], SCALE * (e @ k.abs())[None], 4),
        (grouped(SCALE * ds.mT @ q), grouped(SCALE * e.mT @ q.abs()), 6),
        (grouped(p.mT @ do), grouped(p.mT @ do.abs()), 4),
    ]
    dtype = inputs[0].dtype
    return [(right, rounding(dtype, size, roundings)) for right, size, roundings in found]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 1, 17])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("operator", "device"), EVERY)
def test_attention(
    operator: Operator, device: str, sides: int, window: int | None, dtype: torch.dtype
) -> None:
    packed = pack(device, sides)
    torch.manual_seed(0)
    tokens = packed.input_ids.shape[1]
    inputs = [
        torch.randn(1, heads, tokens, SIZE).to(device, dtype).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]
    layout = VariableLength(packed, operator, checked=True)
    found = layout.attend(inputs[0], inputs[1], inputs[2], SCALE, layout.mask(window))
    direction = torch.randn_like(found)
    every = (found, *torch.autograd.grad(found, inputs, direction))
    seen = visible(pack("cpu", sides), window).to(device)
    names = ("output", "queries", "keys", "values")
    bounds = exact(inputs, direction, seen)
    for name, own, (right, bound) in zip(names, every, bounds, strict=True):
        share = float(((own.detach() - right).abs() / bound).max())
        assert share <= 1, f"{name}: {share:.2f} of the bound"


@pytest.mark.parametrize("family", ["llama", "mistral-window", "qwen3"])
@pytest.mark.parametrize(("operator", "device"), EVERY)
def test_a_whole_policy(
    operator: Operator, device: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as far from float32 as grouped attention is in the same precision, within a factor of
    two: roundings differ in place and a little in number, so that errors are independent draws of
    about one size (1.0 to 1.5 times over eight batches of the emulation)."""
    if device == "cpu":
        monkeypatch.setattr(scorers, "supports", lambda device, dtype: dtype is not None)
        monkeypatch.setattr(scorers, "operators", lambda: [operator])
    rows, every = PackedRows(*draw(rows=8, longest=LONGEST // 2, vocabulary=WORDS)), np.arange(8)
    found: dict[str, list[Tensor]] = {}
    for precision, attention in (
        ("float32", "grouped"), ("bfloat16", "grouped"), ("bfloat16", "auto"),
    ):  # fmt: skip
        policy = Policy(build(*EXACT[family]).to(device), precision, LONGEST, attention)
        assert policy.exact and policy.note == ""
        if attention == "auto":
            assert isinstance(policy.layout, partial)  # an operator passed the self-check
            policy.layout = partial(VariableLength, operator=operator)
        scores = policy.scores(rows, every)
        gradient = gradients(policy.model, scores)
        found[f"{precision} {attention}"] = [scores.detach(), *gradient.values()]

    def error(name: str) -> float:
        """Relative, of scores and of each gradient; their norm."""
        parts = zip(found[name], found["float32 grouped"], strict=True)
        return float(np.linalg.norm([float((x - y).norm() / y.norm()) for x, y in parts]))

    assert 0 < error("bfloat16 auto") < 2 * error("bfloat16 grouped")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_pass_does_not_wait_for_the_gpu() -> None:
    policy = Policy(build(*EXACT["llama"]).to("cuda"), "bfloat16", LONGEST)
    assert policy.note == ""
    rows, every = PackedRows(*draw(rows=8, longest=LONGEST // 2, vocabulary=WORDS)), np.arange(8)
    modes: Any = torch.cuda
    policy.scores(rows, every)
    modes.set_sync_debug_mode("error")
    try:
        policy.scores(rows, every)
    finally:
        modes.set_sync_debug_mode("default")
