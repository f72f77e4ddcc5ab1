"""Writes the results of benchmarks: results/benchmarks/<name>.json."""

import ctypes
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import charts
from sympo.disk import write_atomically
from sympo.native.cpp_compiler import compiled
from sympo.runs.provenance import git_commit, versions

PEAK = Path(__file__).with_name("peak.cpp")


def write(path: Path, rows: Sequence[Mapping[str, Any]], device: str, **more: Any) -> str:
    """Write rows (name, ours, peer, unit, ratio, limit; a ratio above 1 favours ours) with device,
    versions and commit, and draw their chart; returns the JSON text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {
            "device": device,
            "versions": versions(),
            "git_commit": git_commit(),
            **more,
            "rows": [
                {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
                for row in rows
            ],
        },
        indent=1,
    )
    write_atomically(path, text + "\n")
    charts.draw(path)
    return text


def multiply_add_rate() -> float | None:
    """FLOP/s of one core in float32, measured by multiply-adds in registers; None without a
    compiler."""
    library = compiled([PEAK], ())
    if library is None:
        return None
    library.multiply_add.restype = ctypes.c_float
    rounds, best = 5_000_000, float("inf")
    for _ in range(5):
        start = time.perf_counter()
        library.multiply_add(ctypes.c_long(rounds), ctypes.c_float(0.999))
        best = min(best, time.perf_counter() - start)
    return rounds * library.flops_per_round() / best


def processor() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
