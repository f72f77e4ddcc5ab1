"""The shape of a Llama, and where its parts are in a row of all its weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sympo.types import BadInput


@dataclass(frozen=True)
class LlamaShape:
    """The shape of a Llama with tied embeddings, and as many key heads as heads."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    positions: int
    epsilon: float
    rope_theta: float

    @classmethod
    def of(cls, config: Any) -> "LlamaShape":
        """Of a `transformers.LlamaConfig`."""
        return cls(
            vocabulary=config.vocab_size,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            positions=config.max_position_embeddings,
            epsilon=config.rms_norm_eps,
            rope_theta=config.rope_parameters["rope_theta"],
        )

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part of a cell's weights, in their order."""
        found: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            found |= {
                f"{layer}.attention_norm": (self.hidden,),
                f"{layer}.qkv": (3 * self.hidden, self.hidden),
                f"{layer}.out": (self.hidden, self.hidden),
                f"{layer}.mlp_norm": (self.hidden,),
                f"{layer}.gate_up": (2 * self.intermediate, self.hidden),
                f"{layer}.down": (self.hidden, self.intermediate),
            }
        return found | {"norm": (self.hidden,)}

    @property
    def weights(self) -> int:
        """Number of weights of a cell."""
        return sum(torch.Size(part).numel() for part in self.parts.values())

    def check(self, token: int, position: int) -> None:
        """Raise BadInput if these, the largest of some rows, are beyond the model: compiled passes
        would read other memory."""
        if token >= self.vocabulary:
            raise BadInput(f"token id {token} exceeds the model's vocabulary of {self.vocabulary}")
        if position >= self.positions:
            raise BadInput(f"{position + 1} tokens exceed the model's {self.positions} positions")

    def turns(self, dtype: torch.dtype) -> Tensor:
        """The rotations of pairs at each position, complex numbers; (positions, head / 2)."""
        frequencies = self.rope_theta ** -(
            torch.arange(0, self.head, 2, dtype=torch.float64) / self.head
        )
        angle = torch.arange(self.positions)[:, None] * frequencies
        return torch.polar(torch.ones_like(angle), angle).to(dtype)
