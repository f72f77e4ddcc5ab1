"""The largest pass that fits a GPU's memory, found before training.

Memory grows as a + b * tokens. Two small passes over real rows give a and b, the longest pass that
should fit follows, and one trial pass confirms it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from sympo.protocols.models import Scorer, Splittable
from sympo.ranges import TokensPerPass
from sympo.training.passes import random_state, release, set_random_state

# tokens per pass where memory is not measured: on a CPU, which gains nothing by more
USUAL = 4096
# and without gradients on a GPU, which is busy by then, for an eighth of training's memory or less
USUAL_UNTRAINED_ON_GPU = 16_384
# tokens of the smaller measured pass; the other has about twice as many
FIRST = 2048
# share of the free memory that is left, for fragmentation
MARGIN = 0.1
# a pass that did not fit is tried again with so many of its tokens
SHRINK = 0.8
GIB = 2**30


class Meter(Protocol):
    """Measures memory."""

    def available(self) -> int:
        """Bytes that can still be allocated."""
        ...

    def peak(self, work: Callable[[], None]) -> int:
        """The most bytes that `work` adds; raises torch.OutOfMemoryError if it does not fit."""
        ...


class CudaMeter:
    """The memory of one GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def available(self) -> int:
        release(self.device)
        free, _ = torch.cuda.mem_get_info(self.device)
        held = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(free) + held

    def peak(self, work: Callable[[], None]) -> int:
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        return torch.cuda.max_memory_allocated(self.device) - before


@dataclass(frozen=True)
class Pass:
    """A measured pass: its tokens, and the bytes at its peak."""

    tokens: int
    bytes: int


def fitting(small: Pass, large: Pass, available: float, most: int) -> int:
    """The tokens t <= most for which a + b t, the line through two passes, is at most `available`.

    If bytes do not grow with tokens, it is `most` or 0.
    """
    growth = (large.bytes - small.bytes) / (large.tokens - small.tokens)
    at_zero = small.bytes - growth * small.tokens
    if growth <= 0:
        return most if max(small.bytes, large.bytes) <= available else 0
    return max(0, min(most, int((available - at_zero) / growth)))


@dataclass(frozen=True)
class Fit:
    """The tokens per pass that fit; most: of any step, more than which no pass can have.

    available: bytes, before any pass.
    """

    tokens: int
    most: int
    available: int

    def __str__(self) -> str:
        step = ", a whole step" if self.tokens == self.most else ""
        return (
            f"{self.tokens:,} tokens per pass{step}, chosen for {self.available / GIB:.1f} GiB of "
            "free GPU memory"
        )


def largest_pass(
    tokens: np.ndarray,
    per_step: int,
    attempt: Callable[[np.ndarray], None],
    meter: Meter,
    reserved: int,
) -> Fit:
    """The most tokens per pass that fit, at least the longest row's and at most a step's.

    tokens: (rows,) of each row; per_step: rows per step. attempt: adds the gradients of the rows
    with these numbers. reserved: bytes that training will need besides.
    """
    # the longest rows, whose attention takes the most memory for each token
    longest_first = np.argsort(-tokens, kind="stable")[:per_step]
    sizes = np.cumsum(tokens[longest_first])
    least, most = int(sizes[0]), int(sizes[-1])

    def measured(size: int) -> Pass:
        count = max(1, int(np.searchsorted(sizes, size, side="right")))
        peak = meter.peak(lambda: attempt(longest_first[:count]))
        return Pass(int(sizes[count - 1]), peak)

    available, best = meter.available(), least
    try:
        # allocates gradients, loads kernels and compiles, once and for all later passes
        measured(FIRST)
        usable = (1 - MARGIN) * (meter.available() - reserved)
        small = measured(FIRST)
        best = small.tokens
        large = measured(2 * small.tokens)
        best = most
        if large.tokens > small.tokens:
            best = fitting(small, large, usable, most)
    except torch.OutOfMemoryError:
        return Fit(best, most, available)
    while best > large.tokens and not _fits(measured, best, usable):
        meter.available()  # releases what the failed pass held
        best = int(SHRINK * best)
    return Fit(max(least, best), most, available)


def _fits(measured: Callable[[int], Pass], tokens: int, usable: float) -> bool:
    try:
        return measured(tokens).bytes <= usable
    except torch.OutOfMemoryError:
        return False


def measured_pass(scorer: Scorer, rows: Splittable, per_step: int, meter: Meter) -> Fit:
    """`largest_pass` for training a scorer with AdamW, which changes nothing about it."""
    trained = [p for p in scorer.model.parameters() if p.requires_grad]

    def attempt(index: np.ndarray) -> None:
        scorer.scores(rows, index).sum().backward()  # type: ignore[no-untyped-call]

    scorer.model.train()
    state = random_state(scorer.device)
    try:
        moments = sum(2 * p.numel() * p.element_size() for p in trained)
        return largest_pass(rows.tokens, per_step, attempt, meter, moments)
    finally:
        scorer.model.zero_grad(set_to_none=True)
        release(scorer.device)
        set_random_state(state, scorer.device)


def training_tokens(
    setting: TokensPerPass,
    scorer: Scorer,
    rows: Splittable,
    per_step: int,
    note: Callable[[str], None],
) -> int:
    """Tokens per pass with gradients: the setting, or for `auto` what fits a GPU's memory.

    per_step: rows per step. note: shows the number that was chosen.
    """
    if setting != "auto":
        return setting
    if scorer.device.type != "cuda" or scorer.divided:  # a trial would need all processes
        return USUAL
    fit = measured_pass(scorer, rows, per_step, CudaMeter(scorer.device))
    note(str(fit))
    return fit.tokens


def scoring_tokens(setting: TokensPerPass, device: torch.device) -> int:
    """Tokens per pass without gradients."""
    if setting != "auto":
        return setting
    return USUAL_UNTRAINED_ON_GPU if device.type == "cuda" else USUAL
