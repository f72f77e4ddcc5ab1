"""The overhead of a sweep: start-up, records and W&B per cell, and the analysis.

    python -m experiments.benchmarks.sweep_overhead

Every row is the median of several runs of a whole process. Start: from the command to the first
training step of one digits cell. Nine cells: the README's command, from start to figures. A cell:
the difference between sweeps of 220 and 20 cells with almost no training, per cell; with W&B
offline, of 12 and 4 cells. Analysis: `python -m sympo.analysis` on 100,000 synthetic cells with ten
evaluations each and the outcomes of 500 test pairs. Targets replace peers, since there are none.
Needs 4 GB of disk, but no account, network or GPU.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.results import processor, write
from sympo.outcomes import Scored
from sympo.runs.folder import file_of_test_set

ROOT = Path(__file__).parents[2]
LITTLE = ["job.epochs=1", "dataset.train_pairs=64", "dataset.validation_pairs=64",
          "dataset.test_pairs=64", "hydra.launcher.processes=1"]  # fmt: skip
LOSSES = [
    "logistic", "hinge", "square", "sigmoid", "ramp", "unhinged", "truncated_hinge", "savage",
    "exponential", "ropo",
]  # fmt: skip
RATES, SEEDS, EVALUATIONS, PAIRS = [0.0, 0.1, 0.2, 0.3, 0.4], 2000, 10, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    rounds = arguments.rounds
    nine = ["-m", "loss=ramp,sigmoid,logistic", "noise=0.1,0.3,0.4"]
    rows = [
        row("command to first step, digits", median(first_step, rounds), "s", None),
        row("nine digits cells, command to figures", median(lambda: sweep(nine), rounds), "s", 25),
        row("a cell of a sweep, besides training", 1e3 * per_cell(20, 220, [], rounds), "ms", None),
        row(
            "a cell of a sweep with W&B offline, besides training",
            1e3 * per_cell(4, 12, ["wandb.mode=offline"], 3), "ms", None,
        ),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_cells(Path(folder) / "runs")
        took = [analysis(Path(folder) / "runs") for _ in range(min(rounds, 3))]
    cells = len(LOSSES) * len(RATES) * SEEDS
    seconds, memory = (statistics.median(values) for values in zip(*took, strict=True))
    rows += [
        row(f"analysis of {cells:,} cells", seconds, "s", 10),
        row(f"analysis of {cells:,} cells: peak_memory", memory, "MiB", 1000),
    ]
    print(write(arguments.out / "sweep_overhead.json", rows, device=processor()))


def row(name: str, value: float, unit: str, target: float | None) -> dict[str, Any]:
    ratio = None if target is None else target / value
    return {
        "name": name, "ours": value, "peer": target, "peer_is": "the target", "unit": unit,
        "ratio": ratio,
    }  # fmt: skip


def median(measure: Any, rounds: int) -> float:
    """The median of several measurements, after a warm-up of the system's caches."""
    return statistics.median([measure() for _ in range(rounds + 1)][1:])


def run(arguments: Sequence[str], results: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "run.py", *arguments, f"results_dir={results}"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def sweep(arguments: Sequence[str]) -> float:
    """Seconds of a whole sweep."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = run(arguments, Path(folder))
        process.communicate()
        assert process.returncode == 0
        return time.perf_counter() - start


def first_step() -> float:
    """Seconds until training starts, which is just after a cell's config is written."""
    folder = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    process = run(["job.epochs=1000"], folder)
    while not list(folder.glob("runs/*/*/*/*/*/config.yaml")):
        assert process.poll() is None
        time.sleep(0.002)
    took = time.perf_counter() - start
    process.kill()
    process.communicate()
    shutil.rmtree(folder)
    return took


def per_cell(few: int, many: int, settings: Sequence[str], rounds: int) -> float:
    """Seconds per cell, from two sweeps with different numbers of cells."""

    def once() -> float:
        took = [sweep(["-m", f"seed=range({n})", *LITTLE, *settings]) for n in (few, many)]
        return (took[1] - took[0]) / (many - few)

    return median(once, rounds)


def analysis(runs: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a report on all runs."""
    command = [sys.executable, "-m", "sympo.analysis", str(runs), "--out", str(runs.parent / "out")]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**20


def write_cells(runs: Path) -> None:
    """Write run folders like those of a sweep, with synthetic numbers."""
    draw = np.random.default_rng(0)
    tested = [_pairs(draw) for _ in range(SEEDS)]
    for place, (loss, rate, seed) in enumerate(product(LOSSES, RATES, range(SEEDS))):
        folder = (
            runs / "reward_model" / "digits" / loss / f"noise={rate:g}" / f"seed={seed}-{0:08x}"
        )
        folder.mkdir(parents=True)
        history = [
            {
                "epoch": epoch,
                "train/loss": 0.7 - 0.01 * epoch,
                "test/order_accuracy": 0.9 - rate * epoch / 20 + (place * 7919 % 1009) / 1e5,
                "test/order_accuracy_se": 0.007,
                "test/tie_rate": 0.0,
                "validation/noisy_accuracy": 0.9 - rate - epoch / 1e4,
                "train/flipped_memorised": epoch / 20 if rate else None,
            }
            for epoch in range(1, EVALUATIONS + 1)
        ]
        last = {**history[-1], **{f"test/reward_mean/{k}": k + place % 97 / 97 for k in range(10)}}
        packed = {"test/order_accuracy": tested[seed].pack(draw.random(PAIRS) < 0.9 - rate)}
        sets = file_of_test_set(folder, tested[seed].test_set.digest)
        if not sets.is_file():
            sets.parent.mkdir(exist_ok=True)
            sets.write_bytes(tested[seed].test_set.dump())
        summary = {
            "outcomes": {"last": packed, "selected": packed},
            "job": "reward_model", "dataset": "digits", "loss": loss, "noise": rate,
            "noise_model": "symmetric", "model": "small_cnn", "seed": seed, "hash": f"{0:08x}",
            "last": last, "selected": last, "identity": 2,
            "config": {
                "loss": {"_identity_": loss}, "noise": rate, "seed": seed,
                "noise_model": {"_identity_": "symmetric"},
                "model": {"_identity_": "cnn", "channels": [6, 16], "hidden": 64},
                "job": {"_identity_": "reward_model", "epochs": EVALUATIONS},
                "dataset": {"_identity_": "digits", "train_pairs": 2000},
            },
            "at_default": ["dataset.train_pairs", "model.channels", "model.hidden"],
        }  # fmt: skip
        (folder / "config.yaml").write_text("loss: made\n")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in history))
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))


def _pairs(draw: np.random.Generator) -> Scored:
    """Disjoint pairs of 10,000 images."""
    images = draw.permutation(10_000)[: 2 * PAIRS].reshape(PAIRS, 2)
    return Scored(images.min(1) * 2**32 + images.max(1), images)


if __name__ == "__main__":
    main()
