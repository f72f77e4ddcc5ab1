"""Training speed of one policy by several processes, `distributed=ddp`, against one.

    python -m experiments.benchmarks.processes [--processes 1 2] [--rounds 3] [--device cpu]

A step is one of the job's: DPO with the logistic loss on made-up pairs, the gradient summed over
processes, clipping and AdamW. Every process has one CPU thread, or its own GPU. The numbers of
processes take turns in every round; a process of each round is a new one. Written are, for each
number, the median over rounds of the median step, as CSV. Needs no account and no network.
"""

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from experiments.benchmarks.results import processor
from sympo.distributed import launch, processes
from sympo.losses import Logistic
from sympo.margins import DPO
from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.objective import Objective
from sympo.runs.provenance import git_commit
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import Encoded, Vocabulary

VOCABULARY = Vocabulary(size=8192, bos=None, eos=0, pad=1)
PROMPT, RESPONSE = 64, 96
TOKENS_PER_PASS = {"cpu": 4096, "cuda": 32_768}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="timed in each round, after two")
    parser.add_argument("--pairs", type=int, default=32, help="of a step, over all processes")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/processes.csv"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        time_steps(arguments)
        return
    found: dict[int, list[float]] = {number: [] for number in arguments.processes}
    weights = 0
    for _ in range(arguments.rounds):
        for number in found:
            said = started(number, sys.argv[1:])
            found[number].append(said["seconds"])
            weights = int(said["weights"])
    write(arguments, {n: statistics.median(seconds) for n, seconds in found.items()}, weights)


def started(number: int, arguments: list[str]) -> dict[str, float]:
    """What the first of so many processes of torchrun measures."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(number), "-m", "experiments.benchmarks.processes", *arguments, "--worker"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def time_steps(arguments: argparse.Namespace) -> None:
    """Time steps in one of the processes; the first one prints the median."""
    launch.join("ddp", arguments.device)
    torch.set_num_threads(1)
    trainer = make_trainer(arguments)
    batch, seconds = np.arange(arguments.pairs), []
    for step in range(2 + arguments.steps):
        processes.wait()
        began = time.perf_counter()
        trainer.step(batch)
        if step >= 2:
            seconds.append(time.perf_counter() - began)
    weights = sum(p.numel() for p in trainer.scorer.model.parameters())
    print(json.dumps({"seconds": statistics.median(seconds), "weights": weights}))
    launch.leave(0)


def make_trainer(arguments: argparse.Namespace) -> PreferenceTrainer:
    size = arguments.hidden_size
    model = TinyLM(
        hidden_size=size, intermediate_size=4 * size, layers=arguments.layers,
        heads=max(1, size // 64), max_positions=512,
    ).build(VOCABULARY, 0)  # fmt: skip
    policy = Policy(model.to(arguments.device), arguments.precision, PROMPT + RESPONSE)
    draw = np.random.default_rng(0)
    n = arguments.pairs
    prompts = [draw.integers(2, VOCABULARY.size, PROMPT) for _ in range(n)]
    sides = [
        Encoded(
            [np.append(p, draw.integers(2, VOCABULARY.size, RESPONSE)) for p in prompts],
            np.full(n, PROMPT),
        )
        for _ in range(2)
    ]
    rows, tokens = PackedRows(*sides), TOKENS_PER_PASS[arguments.device]
    reference = policy.score(rows, tokens)
    return PreferenceTrainer(
        policy, rows, np.ones(n), reference, Objective(DPO(), Logistic()),
        Recipe(batch_size=n, warmup_steps=0), seed=0, tokens=tokens,
    )  # fmt: skip


def write(arguments: argparse.Namespace, found: dict[int, float], weights: int) -> None:
    """Write and print a row for each number of processes."""
    one = found.get(1)
    device = processor() if arguments.device == "cpu" else torch.cuda.get_device_name(0)
    words = [word for word in sys.argv[1:] if not word.startswith("--out")]
    rows = [
        {
            "processes": number,
            "steps_per_second": f"{1 / seconds:.4g}",
            "speedup": "" if one is None else f"{one / seconds:.3g}",
            "pairs_per_step": arguments.pairs,
            "weights": weights,
            "precision": arguments.precision,
            "device": device,
            "torch": torch.__version__,
            "git_commit": git_commit(),
            "command": shlex.join(["python", "-m", "experiments.benchmarks.processes", *words]),
        }
        for number, seconds in found.items()
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
