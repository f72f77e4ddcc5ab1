"""Keys and values of earlier tokens, written to memory that is reserved once."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class ReservedLayer(DynamicLayer):
    """A layer of `transformers`' default cache, which holds the same keys and values, but does not
    copy all of them for every new token.

    reserved: the most tokens that it can hold.
    """

    def __init__(self, reserved: int) -> None:
        super().__init__()
        self.reserved, self.length = reserved, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.memory = [self._empty(key_states), self._empty(value_states)]

    def _empty(self, states: Tensor) -> Tensor:
        return states.new_empty((*states.shape[:2], self.reserved, states.shape[-1]))

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        for memory, states in zip(self.memory, (key_states, value_states), strict=True):
            memory[:, :, start : self.length] = states
        self.keys, self.values = (memory[:, :, : self.length] for memory in self.memory)
        return self.keys, self.values


def reserved_cache(config: Any, reserved: int) -> DynamicCache | None:
    """A cache of at most so many tokens; None for models that do not keep all keys and values, such
    as those with sliding windows.

    config: the model's.
    """
    cache = DynamicCache(config=config)
    layers = getattr(cache, "layers", [])
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return None
    cache.layers = [ReservedLayer(reserved) for _ in layers]
    return cache
