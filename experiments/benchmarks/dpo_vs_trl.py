"""Training pairs per second and peak memory, against TRL's DPOTrainer on one device.

    python -m experiments.benchmarks.dpo_vs_trl --data FOLDER --tokenizer FOLDER [--device cuda
        --shape llama-3.2-3b --length 2048 --batch 64 --micro-batch 4 8 16 --compile]

The --data folder holds HH (SUBSET/{train,test}.jsonl.gz) or UltraFeedback, in the hub's layout. The
--tokenizer folder holds GPT-2's tokenizer, whose ids are taken modulo the model's vocabulary. All
engines train the same Llama from the same random weights, on the same token ids (prompts of up to
half of --length), with the same precomputed reference: logistic loss, beta 0.1, AdamW, clipping,
and no gradient checkpointing by default; float32 on CPU, bfloat16 products on float32 weights on a
GPU. TRL runs with its default sampler, whose batches we use too; with
`train_sampling_strategy="group_by_length"`, which sorts 50 batches at a time by their longer sides
(TRL 1.16 accepts it only with a column `length` and `remove_unused_columns=False`); and, on a GPU
with `liger-kernel`, with these batches and Liger's kernels. Batches are taken at equal intervals
from an epoch and dealt out to the rounds in turn. Each round of an engine is a separate process,
and the engines alternate. If one fails, its traceback is printed and the others continue. Needs no
account and no network.

A step takes --batch pairs, which TRL accumulates over passes of --micro-batch pairs. With several
numbers, each of TRL's ways runs at the fastest of them, found in trials of three steps: an untimed
one on the longest pairs, so that a pass too large for memory shows, and two timed ones (without
reference log-probabilities, which change no time).

Time is measured between the ends of two optimizer steps. It includes batches, forward, backward,
clipping and AdamW, and the metrics that TRL computes at every step; nothing is logged, saved or
evaluated. Untimed steps come first: one on pairs of a few tokens, after which weights, gradients
and moments are in memory, and --warmup steps on batches like the timed ones. Peak memory is the
increase of the resident peak (VmHWM; on a GPU, of allocations) over memory use after the first
step, and the highest round counts. Speeds are medians over rounds, and ratios are medians of
per-round ratios. Model FLOPs count our matrix products without recomputation.
"""

import argparse
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.dpo_engines import OURS, TRL, Engine, peers, reference
from experiments.benchmarks.dpo_pairs import Pairs, read
from experiments.benchmarks.dpo_rounds import Round, measure
from experiments.benchmarks.isolated import Failure, alone
from experiments.benchmarks.llama_flops import PEAK_FLOPS, SHAPES
from experiments.benchmarks.results import processor, write
from sympo.models.texts.shared_prefix_attention import ATTENTION

Found = Mapping[Engine, Sequence[Round]]


def main() -> int:
    arguments = parsed()
    pairs, wanted = read(arguments), arguments.rounds * arguments.steps
    failures: dict[str, str] = {}
    engines = [OURS, *fastest(peers(arguments.device), pairs, arguments, failures)]
    batches = {engine: pairs.batches(arguments.batch, engine.grouped, wanted) for engine in engines}
    used = [batch for taken in batches.values() for batch in taken]
    logps = alone(reference, pairs, used, arguments)
    if isinstance(logps, Failure):
        print(logps.text, flush=True)
        return 1
    pairs = replace(pairs, reference=logps)
    found: dict[Engine, list[Round]] = {engine: [] for engine in engines}
    text = ""
    for number in range(arguments.rounds):
        for engine in engines:
            if engine.name in failures:
                continue
            timed = batches[engine][number :: arguments.rounds]
            warmup = [timed[i % len(timed)] for i in range(arguments.warmup)]
            done = alone(measure, engine, pairs, warmup, timed, arguments)
            if isinstance(done, Failure):
                print(f"{engine.name} failed:\n{done.text}", flush=True)
                failures[engine.name] = done.reason
                continue
            found[engine].append(done)
            print(f"{engine.name}: {shown(done)}", flush=True)
        text = report(found, failures, arguments)
    print(text)
    return int(bool(failures))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--length", type=int, default=512, help="of a prompt and its response")
    parser.add_argument("--batch", type=int, default=8, help="pairs in an optimizer step")
    parser.add_argument("--micro-batch", type=int, nargs="+", help="TRL's pairs in a pass; try all")
    parser.add_argument("--tokens", type=int, default=4096, help="per pass of our model")
    parser.add_argument("--attention", choices=ATTENTION, default="auto", help="ours")
    parser.add_argument("--compile", action="store_true", help="our layers")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="in all engines")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=1600, help="of the data set")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps in a round")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not timed")
    parser.add_argument("--name", default="dpo_vs_trl", help="of the file of results")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    needed = arguments.rounds * arguments.steps * arguments.batch
    if arguments.pairs < needed:
        parser.error(f"--pairs={arguments.pairs} must be at least {needed}, which the rounds use")
    arguments.micro_batch = arguments.micro_batch or [min(8, arguments.batch)]
    for most in arguments.micro_batch:
        if most < 1 or arguments.batch % most:
            parser.error(f"--micro-batch={most} must divide --batch={arguments.batch}")
    return arguments


def shown(done: Round) -> str:
    return f"{done.speed:.2f} pairs/s, {done.memory / 2**20:.0f} MiB"


def fastest(
    engines: Sequence[TRL], pairs: Pairs, arguments: argparse.Namespace, failures: dict[str, str]
) -> list[TRL]:
    """TRL's ways, each at its fastest --micro-batch; adds those that never work to `failures`."""
    choices = [[replace(engine, most=most) for most in arguments.micro_batch] for engine in engines]
    if len(arguments.micro_batch) == 1:
        return [engine for (engine,) in choices]
    size = math.lcm(*arguments.micro_batch)
    best = []
    for candidates in choices:
        speeds: dict[TRL, float] = {}
        for engine in candidates:
            timed = pairs.batches(size, engine.grouped, 2)
            done = alone(measure, engine, pairs, [pairs.longest_batch(size)], timed, arguments)
            if isinstance(done, Failure):
                failures[engine.name] = done.reason
                outcome = f"failed: {done.reason}"
            else:
                speeds[engine] = done.speed
                outcome = shown(done)
            print(f"{engine.name}, {engine.most} pairs a pass, trial: {outcome}", flush=True)
        if speeds:
            best.append(max(candidates, key=lambda engine: speeds.get(engine, 0.0)))
            failures.pop(best[-1].name, None)
    return best


def report(found: Found, failures: Mapping[str, str], arguments: argparse.Namespace) -> str:
    """Write the results of the rounds so far, if there are any of ours and of a peer."""
    done = [engine for engine, rounds in found.items() if rounds]
    others = [engine for engine in done if isinstance(engine, TRL)]
    if not others or OURS not in done:
        return "there is nothing to compare"
    rate = statistics.median(one.rate for rounds in found.values() for one in rounds)
    device = processor()
    if arguments.device != "cpu":
        device = torch.cuda.get_device_name(arguments.device)
    kept = (
        *("shape", "length", "batch", "tokens", "attention", "compile", "gradient_checkpointing"),
        *("threads", "pairs"),
    )
    packages = ["trl", "accelerate", *(["liger-kernel"] if find_spec("liger_kernel") else [])]
    return write(
        arguments.out / f"{arguments.name}.json",
        [row for peer in others for row in compared(peer, found, rate, device)],
        device=device,
        peer_versions={name: metadata.version(name) for name in packages},
        data=arguments.data.name,
        **{name: getattr(arguments, name) for name in kept},
        micro_batch={engine.name: engine.most for engine in others},
        **({"failed": dict(failures)} if failures else {}),
        rounds=len(found[OURS]),
        steps_per_round=arguments.steps,
        matrix_gflop_per_s=round(rate / 1e9, 1),
    )


def compared(peer: Engine, found: Found, rate: float, device: str) -> list[dict[str, Any]]:
    """Rows of the results: our engine against one of TRL's, over the rounds that both finished."""
    us, them = zip(*zip(found[OURS], found[peer], strict=False), strict=True)
    speed, flops = {}, {}
    for name, rounds in (("ours", us), ("peer", them)):
        speed[name] = statistics.median(done.speed for done in rounds)
        flops[name] = sum(done.flops for done in rounds) / sum(done.pairs for done in rounds)
    ratios = [a.speed / b.speed for a, b in zip(us, them, strict=True)]
    model = sum(done.model_flops for done in us) / sum(done.pairs for done in us)
    peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in device), None)
    memory = [max(done.memory for done in rounds) / 2**20 for rounds in (us, them)]
    return [
        {
            "name": f"{peer.name}: pairs_per_s",
            **speed,
            "unit": "pairs/s",
            "ratio": statistics.median(ratios),
            "ratio_lowest": min(ratios),
            "ratio_highest": max(ratios),
            "limit": rate / flops["ours"],
            "limit_is": "our matrix products alone, at the rate of large ones in the same run",
            "share_of_limit": speed["ours"] * flops["ours"] / rate,
            "gflop_per_pair": flops["ours"] / 1e9,
            "gflop_per_pair_of_peer": flops["peer"] / 1e9,
            "model_gflop_per_pair": model / 1e9,
            "model_flops_utilisation": None if peak is None else speed["ours"] * model / peak,
        },
        {
            "name": f"{peer.name}: peak_memory",
            "ours": memory[0],
            "peer": memory[1],
            "unit": "MiB above weights, gradients and moments",
            "ratio": memory[1] / memory[0],
        },
    ]


if __name__ == "__main__":
    sys.exit(main())
