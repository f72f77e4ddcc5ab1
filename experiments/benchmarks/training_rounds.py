"""Measures an engine's time, memory and FLOPs over some steps."""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from experiments.benchmarks.engines import Engine
from experiments.benchmarks.llama_flops import SHAPES, matrix_rate
from experiments.benchmarks.preference_pairs import Pairs, our_flops


@dataclass(frozen=True)
class Round:
    """The measurements of an engine in a round.

    memory: in bytes. flops: of its matrix products; model_flops: the same without recomputation.
    rate: FLOP/s of the device's matrix products.
    """

    seconds: float
    pairs: int
    memory: int
    flops: float
    model_flops: float
    rate: float

    @property
    def speed(self) -> float:
        return self.pairs / self.seconds


def measure(
    engine: Engine,
    pairs: Pairs,
    warmup: Sequence[np.ndarray],
    timed: Sequence[np.ndarray],
    arguments: argparse.Namespace,
) -> Round:
    """Train an engine on untimed and timed batches, all of one size, after one of tiny pairs."""
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    watch, size = Watch(arguments.device, clock), len(timed[0])
    engine.train([pairs.first_batch(size), *warmup, *timed], pairs, arguments)
    shape, logits = SHAPES[arguments.shape], engine.task.logits
    return Round(
        seconds=watch.ends[-1] - watch.ends[len(warmup)],
        pairs=size * len(timed),
        memory=watch.peak() - watch.state,
        flops=sum(engine.flops(shape, pairs, batch) for batch in timed),
        model_flops=our_flops(shape, pairs, timed, logits, again=False),
        rate=matrix_rate(shape, arguments.device, logits, clock),
    )


class Watch:
    """Records when each optimizer step ends, and the resident memory after the first."""

    def __init__(self, device: str, clock: Callable[[], float]) -> None:
        self.device, self.clock = torch.device(device), clock
        self.ends: list[float] = []
        self.state = 0
        register_optimizer_step_post_hook(self)

    def __call__(self, *_: object) -> None:
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.device)
        if not self.ends and cuda:
            self.state = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        elif not self.ends:
            self.state = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        self.ends.append(self.clock())

    def peak(self) -> int:
        """Peak bytes since the first step."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resident("VmHWM")


def resident(key: str) -> int:
    """Resident memory in bytes: VmRSS, the current value, or VmHWM, the peak."""
    (kilobytes,) = re.findall(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)
