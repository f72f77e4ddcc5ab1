"""Calls of compiled functions with tensors, on as many threads as PyTorch uses."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor


def call(function: Callable[..., object], *arguments: int | float | Tensor | None) -> Any:
    """Pass integers as `long`, floats as `float`, and tensors as pointers to their numbers."""
    return function(*map(_converted, arguments))


def in_parts(count: int, work: Callable[[int, int, int], None]) -> None:
    """work(part, start, end) over `count` items, in as many parts as PyTorch has threads."""
    parts = min(torch.get_num_threads(), count)
    if parts == 1:
        work(0, 0, count)
        return
    ends = [count * part // parts for part in range(parts + 1)]
    list(_threads(parts).map(work, range(parts), ends, ends[1:]))


def _converted(
    argument: int | float | Tensor | None,
) -> ctypes.c_long | ctypes.c_float | ctypes.c_void_p:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)
