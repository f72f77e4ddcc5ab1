"""Runs a part of a benchmark in its own process; an error comes back as text."""

import multiprocessing
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why a process has no result. text: the traceback. memory: whether memory ran out."""

    text: str
    memory: bool = False

    @property
    def reason(self) -> str:
        """The last line of the traceback."""
        return self.text.strip().splitlines()[-1]


def alone(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | Failure:
    """The result of a function called in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_attempt, partial(work, *arguments, **named)).result()
        except BrokenProcessPool:
            return Failure("the process was killed, perhaps because memory ran out", memory=True)


def _attempt(work: Callable[[], T]) -> T | Failure:
    # as text, because not every exception can be pickled
    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError):
        return Failure(traceback.format_exc(), memory=True)
    except Exception:
        return Failure(traceback.format_exc())
