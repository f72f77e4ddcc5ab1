"""Policies whose weights are divided among processes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sympo.distributed import call_gathered, gather_to_folder
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.shared_prefix_attention import NAME, register
from sympo.protocols.models import Splittable

# of the small model that is checked in float32 in place of one that computes in bfloat16
LAYERS, TOKENS = 2, 512


class ShardedPolicy(Policy):
    """A policy that `sympo.distributed.shard` has divided; all processes must take equally many
    passes, and save together.

    precision: of its products, which `shard` was given.
    """

    divided = True

    def __init__(self, model: nn.Module, precision: str, longest: int) -> None:
        self.precision = precision
        # the division casts, and variable-length attention wants autocast
        super().__init__(model, "float32", longest, "grouped")
        self._reshard()

    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        shared = super()._shared
        # a view of other tensors would lose the hooks of the backward pass
        return call_gathered(self.model, lambda: shared(rows, index).clone())

    def _takes_shared_prefixes(self, longest: int) -> bool:
        if self.precision == "float32":
            return super()._takes_shared_prefixes(longest)
        # in bfloat16 the two ways differ by rounding: a small model of this kind decides
        exact = Policy(_small(self._base.config), longest=longest).exact
        if exact:
            register()
            self._base.set_attn_implementation(NAME)
        return exact

    def score(self, rows: Splittable, tokens: int, first: int | None = None) -> np.ndarray:
        try:
            return super().score(rows, tokens, first)
        finally:
            self._reshard()

    def generate(self, *arguments: Any, **settings: Any) -> Tensor:
        try:
            return super().generate(*arguments, **settings)
        finally:
            self._reshard()

    def _reshard(self) -> None:
        """Divide embeddings and head again, which stay whole after a pass without a backward one:
        otherwise an optimizer or a checkpoint would take them as they are."""
        self.model.reshard()

    def save(self, folder: Path) -> None:
        attention = self._base.config._attn_implementation
        self.use_default_attention()
        try:
            gather_to_folder(self.model, folder)
        finally:
            self._base.set_attn_implementation(attention)


def _small(config: Any) -> nn.Module:
    """A model of few layers and tokens with random weights in float32."""
    from transformers import AutoModelForCausalLM

    small = copy.deepcopy(config)
    small.num_hidden_layers, small.vocab_size, small.dtype = LAYERS, TOKENS, torch.float32
    small.pad_token_id = small.bos_token_id = small.eos_token_id = None
    if kinds := small.to_dict().get("layer_types"):
        small.layer_types = kinds[:LAYERS]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = AutoModelForCausalLM.from_config(small)  # type: ignore[no-untyped-call]
        return made
