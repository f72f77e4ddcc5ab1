"""Caches of keys and values for generation, in the precision of matrix products.

Under autocast, attention casts keys and values before each product. A cache that already holds them
in that precision gives the same results bit for bit, takes half the memory, and is not cast as a
whole for every new token.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache


class GrowingCache(DynamicCache):
    """The default cache of `transformers`, in one precision."""

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        super().__init__(config=config)
        self.dtype = dtype

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        key_states, value_states = key_states.to(self.dtype), value_states.to(self.dtype)
        return super().update(key_states, value_states, *args, **kwargs)


class FixedCache(StaticCache):
    """A cache of a fixed number of tokens in one precision, with which `transformers` compiles
    decoding on a GPU."""

    def __init__(self, config: Any, dtype: torch.dtype, longest: int) -> None:
        super().__init__(config=config, max_cache_len=longest)
        self.dtype = dtype

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        key_states, value_states = key_states.to(self.dtype), value_states.to(self.dtype)
        return super().update(key_states, value_states, *args, **kwargs)
