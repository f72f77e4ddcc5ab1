"""Small Llamas of several cells side by side: one pass over shared rows, each cell its own weights.

Every tensor of activations has the cells first, (C, tokens, ...), and every product is one batched
product over cells. The weights of a cell are one row of a matrix, so that norms and the optimizer
are a handful of calls. A cell's numbers do not depend on the cells beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sympo.models.texts.compiled_llama import CompiledLlama, compiled_llama, fits
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.row_grids import (
    TOKENS,
    TOKENS_COMPILED,
    TOKENS_ON_GPU,
    RowGrid,
)

# attention of a layer: (its number, queries, keys and values (C, tokens, 3 hidden)) -> (C, tokens,
# hidden)
Attend = Callable[[int, Tensor], Tensor]


class StackedLlama(nn.Module):
    """C Llamas of one shape.

    weights: (C, P), all weights of a cell in the order of `LlamaShape.parts`.
    """

    def __init__(self, shape: LlamaShape, weights: Tensor) -> None:
        super().__init__()
        self.shape, self.weights = shape, nn.Parameter(weights)
        turns = shape.turns(_complex(weights.dtype))
        # of queries, with the scale of attention, and of keys; (positions, 2, head / 2)
        self.turns = torch.stack([turns * shape.head**-0.5, turns], 1).to(weights.device)

    @classmethod
    def of(cls, model: Any, cells: int) -> "StackedLlama":
        """Copies of a `transformers.LlamaForCausalLM` with tied embeddings, on its device."""
        shape = LlamaShape.of(model.config)
        weights = _flat(model.state_dict(), shape)
        return cls(shape, weights.repeat(cells, 1))

    @property
    def cells(self) -> int:
        return len(self.weights)

    @property
    def device(self) -> torch.device:
        return self.weights.device

    @torch.no_grad()
    def write(self, cell: int, model: Any) -> None:
        """Copy a cell's weights into a `transformers.LlamaForCausalLM` of this shape."""
        own = _state(self.weights[cell], self.shape)
        for name, parameter in model.named_parameters():
            parameter.copy_(own[name])

    def weights_by_part(self) -> dict[str, Tensor]:
        """Views (C, *shape) of the weights, by part."""
        parts = self.shape.parts
        split = torch.split(self.weights, [torch.Size(own).numel() for own in parts.values()], 1)
        return {
            name: own.view(-1, *shape)
            for (name, shape), own in zip(parts.items(), split, strict=True)
        }

    def hidden(self, ids: Tensor, attend: Attend, weights: Mapping[str, Tensor]) -> Tensor:
        """The last hidden state, normalised; ids: (tokens,), or (C, tokens) if cells read tokens
        of their own. Returns (C, tokens, hidden)."""
        if ids.dim() == 1:
            h = weights["embedding"].index_select(1, ids)
        else:
            h = weights["embedding"].gather(1, ids[..., None].expand(*ids.shape, self.shape.hidden))
        for layer in range(self.shape.layers):
            own = {name: weights[f"{layer}.{name}"] for name in _PARTS}
            x = _Normalised.apply(h, self.shape.epsilon)
            qkv = torch.bmm(x, _scaled(own["qkv"], own["attention_norm"]).mT)
            h = torch.baddbmm(h, attend(layer, qkv), own["out"].mT)
            x = _Normalised.apply(h, self.shape.epsilon)
            gate_up = torch.bmm(x, _scaled(own["gate_up"], own["mlp_norm"]).mT)
            h = torch.baddbmm(h, _SwiGLU.apply(gate_up), own["down"].mT)
        found: Tensor = _Normalised.apply(h, self.shape.epsilon)
        return found

    def logits(self, hidden: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """(C, n, hidden) of `hidden` -> (C, n, vocabulary)."""
        return torch.bmm(hidden, _scaled(weights["embedding"], weights["norm"]).mT)

    @property
    def compiled(self) -> CompiledLlama | None:
        """The compiled passes; None if PyTorch's operators run."""
        return compiled_llama(self.shape) if self._can_compile else None

    @property
    def advice(self) -> str:
        """How the user can speed up training here; empty if there is nothing to do."""
        if not self._can_compile or self.compiled:
            return ""
        return "no C++ compiler works here: with one, training takes a third of the time"

    @property
    def _can_compile(self) -> bool:
        floats = self.device.type == "cpu" and self.weights.dtype == torch.float32
        return floats and fits(self.shape)

    @property
    def tokens_per_pass(self) -> int:
        """How many tokens of rows to pass at a time."""
        if self.device.type != "cpu":
            return TOKENS_ON_GPU
        return TOKENS_COMPILED if self.compiled else TOKENS

    def logps(self, grid: RowGrid) -> Tensor:
        """Summed log-probabilities of the responses of rows; (C, rows, sides)."""
        compiled = self.compiled
        return compiled.logps(self.weights, grid) if compiled else self._logps(grid)

    def _logps(self, grid: RowGrid) -> Tensor:
        weights, heads = self.weights_by_part(), self.shape.heads
        turns = self.turns[grid.positions]
        back = turns.conj().resolve_conj()

        def attend(_: int, qkv: Tensor) -> Tensor:
            found: Tensor = _Attention.apply(qkv, turns, back, grid.bias, heads)
            return found

        hidden = self.hidden(grid.ids.flatten(), attend, weights)
        every = torch.log_softmax(self.logits(hidden, weights), -1)
        # (C, tokens, sides): a token may predict the first token of both sides
        targets = grid.targets.flatten(0, 1).expand(self.cells, -1, -1)
        own = every.gather(2, targets) * grid.scored.flatten(0, 1)
        rows, longest = grid.ids.shape
        found: Tensor = own.view(self.cells, rows, longest, -1).sum(2)
        return found


_PARTS = ("attention_norm", "qkv", "out", "mlp_norm", "gate_up", "down")


def _scaled(weight: Tensor, norm: Tensor) -> Tensor:
    """W diag(g): products with normalised states need no pass that multiplies them by g."""
    return weight * norm[:, None]


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64


class _Normalised(torch.autograd.Function):
    """h / sqrt(mean(h^2) + epsilon) over the last dimension."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, epsilon: float) -> Tensor:
        scale = (h * h).sum(-1, keepdim=True).div_(h.shape[-1]).add_(epsilon).rsqrt_()
        x = h * scale
        ctx.save_for_backward(x, scale)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (x, scale) = grads, ctx.saved_tensors
        along = (grad * x).sum(-1, keepdim=True).div_(-x.shape[-1])
        return torch.addcmul(grad, x, along).mul_(scale), None


class _SwiGLU(torch.autograd.Function):
    """silu(gate) * up, of both side by side."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (gate_up,) = grads, ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        found = torch.empty_like(gate_up)
        to_gate, to_up = found.chunk(2, -1)
        share = torch.sigmoid(gate)
        silu = gate * share
        torch.mul(grad, silu, out=to_up)
        # silu' = s + silu (1 - s)
        share.add_(silu.mul_(1 - share)).mul_(up)
        torch.mul(share, grad, out=to_gate)
        return found


class _Attention(torch.autograd.Function):
    """Rotary embedding and attention of rows (R, L) with a bias (R, 1, L, L).

    qkv (C, R L, 3 hidden) -> (C, R L, hidden).

    turns: (R, L, 2, head / 2) complex, of queries and keys; back: their conjugates.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, turns: Tensor, back: Tensor, bias: Tensor, heads: int
    ) -> Tensor:
        rows, longest = turns.shape[:2]
        split = qkv.view(len(qkv), rows, longest, 3, heads, -1)
        cells, size = len(qkv), split.shape[-1]
        # batched products want heads before tokens: the rotation writes there
        turned = torch.empty(
            2, cells, rows, heads, longest, size // 2, dtype=turns.dtype, device=qkv.device
        )
        torch.mul(_pairs(split), turns[:, :, :, None], out=turned.permute(1, 2, 4, 0, 3, 5))
        query, key = torch.view_as_real(turned).view(2, -1, longest, size)
        value = _by_head(split[:, :, :, 2])
        weight = torch.bmm(query, key.mT)
        weight.view(cells, rows, heads, longest, longest).add_(bias)
        weight = torch.softmax(weight, -1)
        found = _by_token(torch.bmm(weight, value), cells, rows, heads)
        ctx.save_for_backward(query, key, value, weight, found, back)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (query, key, value, weight, found, back) = grads, ctx.saved_tensors
        rows, longest = back.shape[:2]
        cells, size = len(grad), query.shape[-1]
        heads = len(query) // (cells * rows)
        # sum_j p_j dp_j = sum of o do
        along = (grad * found).view(cells, rows, longest, heads, size).sum(-1)
        along = along.transpose(2, 3).reshape(-1, longest, 1)
        grad = _by_head(grad.view(cells, rows, longest, heads, size))
        to_qkv = grad.new_empty(cells, rows, longest, 3, heads, size)
        to_qkv[:, :, :, 2] = _split(torch.bmm(weight.mT, grad), cells, rows, heads).transpose(2, 3)
        to_score = torch.bmm(grad, value.mT).sub_(along).mul_(weight)
        to_turned = torch.stack([torch.bmm(to_score, key), torch.bmm(to_score.mT, query)])
        turned = torch.view_as_complex(
            to_turned.view(2, cells, rows, heads, longest, size // 2, 2)
        ).permute(1, 2, 4, 0, 3, 5)
        torch.mul(turned, back[:, :, :, None], out=_pairs(to_qkv))
        return to_qkv.view(cells, rows * longest, -1), None, None, None, None


def _pairs(split: Tensor) -> Tensor:
    """Queries and keys as complex numbers, a view; (C, R, L, 2, heads, head / 2)."""
    return torch.view_as_complex(split.view(*split.shape[:-1], -1, 2)[:, :, :, :2])


def _by_head(x: Tensor) -> Tensor:
    """(C, R, L, heads, size) -> (C R heads, L, size)."""
    return x.transpose(2, 3).reshape(-1, x.shape[2], x.shape[4])


def _split(x: Tensor, cells: int, rows: int, heads: int) -> Tensor:
    return x.view(cells, rows, heads, *x.shape[1:])


def _by_token(x: Tensor, cells: int, rows: int, heads: int) -> Tensor:
    """(C R heads, L, size) -> (C, R L, hidden)."""
    return _split(x, cells, rows, heads).transpose(2, 3).reshape(cells, rows * x.shape[1], -1)


def _interleaved(weight: Tensor, shape: LlamaShape) -> Tensor:
    """Rows of queries or keys with the two halves of each head interleaved, so that a rotation is a
    product of complex numbers; scores of attention stay the same."""
    halves = weight.view(shape.heads, 2, shape.head // 2, shape.hidden)
    return halves.transpose(1, 2).reshape(shape.hidden, shape.hidden)


def _halved(weight: Tensor, shape: LlamaShape) -> Tensor:
    """The inverse of `_interleaved`."""
    pairs = weight.view(shape.heads, shape.head // 2, 2, shape.hidden)
    return pairs.transpose(1, 2).reshape(shape.hidden, shape.hidden)


def _flat(state: Mapping[str, Tensor], shape: LlamaShape) -> Tensor:
    """A cell's weights (P,) from the state of a `transformers.LlamaForCausalLM`."""
    found = [state["model.embed_tokens.weight"]]
    for layer in range(shape.layers):
        own = {
            name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): value
            for name, value in state.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        found += [
            own["input_layernorm"],
            _interleaved(own["self_attn.q_proj"], shape),
            _interleaved(own["self_attn.k_proj"], shape),
            own["self_attn.v_proj"],
            own["self_attn.o_proj"],
            own["post_attention_layernorm"],
            own["mlp.gate_proj"],
            own["mlp.up_proj"],
            own["mlp.down_proj"],
        ]
    found.append(state["model.norm.weight"])
    return torch.cat([value.detach().flatten() for value in found])


def _state(weights: Tensor, shape: LlamaShape) -> dict[str, Tensor]:
    """The inverse of `_flat`, by the names of `transformers`."""
    split = torch.split(weights, [torch.Size(part).numel() for part in shape.parts.values()])
    own = {
        name: value.view(part)
        for (name, part), value in zip(shape.parts.items(), split, strict=True)
    }
    found = {"model.embed_tokens.weight": own["embedding"], "model.norm.weight": own["norm"]}
    for layer in range(shape.layers):
        query, key, value = own[f"{layer}.qkv"].chunk(3)
        gate, up = own[f"{layer}.gate_up"].chunk(2)
        parts = {
            "input_layernorm": own[f"{layer}.attention_norm"],
            "self_attn.q_proj": _halved(query, shape),
            "self_attn.k_proj": _halved(key, shape),
            "self_attn.v_proj": value,
            "self_attn.o_proj": own[f"{layer}.out"],
            "post_attention_layernorm": own[f"{layer}.mlp_norm"],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": own[f"{layer}.down"],
        }
        found |= {f"model.layers.{layer}.{name}.weight": part for name, part in parts.items()}
    return found
