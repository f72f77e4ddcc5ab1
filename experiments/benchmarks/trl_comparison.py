"""Our trainer against one of TRL's: pairs per second and peak memory on one device.

The --data folder holds HH (SUBSET/{train,test}.jsonl.gz) or UltraFeedback, in the hub's layout. The
--tokenizer folder holds GPT-2's tokenizer, whose ids are taken modulo the model's vocabulary. All
engines train the same Llama from the same random weights, on the same token ids (prompts of up to
half of --length): logistic loss, AdamW at the same learning rates, clipping, and no gradient
checkpointing by default; float32 on CPU, bfloat16 products on float32 weights on a GPU. With
--compile all of them send the layers through torch.compile in the same way (dynamic shapes).
TRL runs with its default sampler, whose batches we use too; with
`train_sampling_strategy="group_by_length"`, which sorts 50 batches at a time by their longer sides
(TRL 1.16 accepts it only with a column `length` and `remove_unused_columns=False`); and, on a GPU
with `liger-kernel`, with these batches and Liger's kernels. Batches are taken at equal intervals
from an epoch and dealt out to the rounds in turn. Each round of an engine is a separate process,
and the engines alternate. If one fails, its traceback is printed and the others continue. Needs no
account and no network.

A step takes --batch pairs, which TRL accumulates over passes of --micro-batch pairs. With several
numbers, each of TRL's ways runs at the fastest of them, found in trials from the smallest to the
first that does not fit into memory: two untimed steps, one of them on the longest pairs, so that a
pass too large for memory shows, and two timed ones (without reference log-probabilities, which
change no time).

Time is measured between the ends of two optimizer steps. It includes batches, forward, backward,
clipping and AdamW, and the metrics that TRL computes at every step; nothing is logged, saved or
evaluated. Untimed steps come first: one on pairs of a few tokens, after which weights, gradients
and moments are in memory, and --warmup steps on batches like the timed ones. Peak memory is the
increase of the resident peak (VmHWM; on a GPU, of allocations) over memory use after the first
step, and the highest round counts. --processor-time counts the time that processes of one thread
compute, for a machine that other work shares. Speeds are medians over rounds, and ratios are
medians of per-round ratios. Model FLOPs count our matrix products without recomputation.
"""

import argparse
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.engines import TRL, Engine, Task, peers
from experiments.benchmarks.isolated import Failure, alone
from experiments.benchmarks.llama_flops import PEAK_FLOPS, SHAPES
from experiments.benchmarks.preference_pairs import Pairs, read
from experiments.benchmarks.results import processor, write
from experiments.benchmarks.training_rounds import Round, measure
from sympo.models.texts.shared_prefix_attention import ATTENTION

Found = Mapping[Engine, Sequence[Round]]


def compare(task: Task, name: str, text: str) -> int:
    """Run the benchmark of this name, described by `text`; 1 if an engine fails."""
    arguments = parsed(name, text)
    pairs, wanted = read(arguments), arguments.rounds * arguments.steps
    failures: dict[str, str] = {}
    peer_engines = fastest(peers(task, arguments.device), pairs, arguments, failures)
    engines = [Engine(task), *peer_engines]
    batches = {engine: pairs.batches(arguments.batch, engine.grouped, wanted) for engine in engines}
    used = [batch for taken in batches.values() for batch in taken]
    referenced = task.with_reference(pairs, used, arguments)
    if isinstance(referenced, Failure):
        print(referenced.text, flush=True)
        return 1
    pairs = referenced
    found: dict[Engine, list[Round]] = {engine: [] for engine in engines}
    summary = ""
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
        summary = report(found, failures, arguments)
    print(summary)
    return int(bool(failures))


def parsed(name: str, text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--length", type=int, default=512, help="of a prompt and its response")
    parser.add_argument("--batch", type=int, default=8, help="pairs in an optimizer step")
    parser.add_argument("--micro-batch", type=int, nargs="+", help="TRL's pairs in a pass; try all")
    parser.add_argument("--tokens", type=int, default=4096, help="per pass of our model")
    parser.add_argument("--attention", choices=ATTENTION, default="auto", help="ours")
    parser.add_argument("--compile", action="store_true", help="the layers, in all engines")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="in all engines")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="time that processes compute, for a shared machine; needs --threads 1",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=1600, help="of the data set")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps in a round")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are not timed")
    parser.add_argument("--name", default=name, help="of the file of results")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    needed = arguments.rounds * arguments.steps * arguments.batch
    if arguments.pairs < needed:
        parser.error(f"--pairs={arguments.pairs} must be at least {needed}, which the rounds use")
    if arguments.processor_time and (arguments.threads != 1 or arguments.device != "cpu"):
        # several threads wait for each other by computing, and a GPU does not count
        parser.error("--processor-time needs --threads 1 and --device cpu")
    arguments.micro_batch = sorted(set(arguments.micro_batch or [min(8, arguments.batch)]))
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
            first, *timed = pairs.batches(size, engine.grouped, 3)
            warmup = [pairs.longest_batch(size), first]
            done = alone(measure, engine, pairs, warmup, timed, arguments)
            trial = f"{engine.name}, {engine.most} pairs a pass, trial"
            if not isinstance(done, Failure):
                speeds[engine] = done.speed
                print(f"{trial}: {shown(done)}", flush=True)
                continue
            failures[engine.name] = done.reason
            problem = "does not fit" if done.memory else "failed"
            print(f"{trial}: {problem}: {done.reason}", flush=True)
            if done.memory:
                break  # nor do larger ones
        if speeds:
            best.append(max(candidates, key=lambda engine: speeds.get(engine, 0.0)))
            failures.pop(best[-1].name, None)
    return best


def report(found: Found, failures: Mapping[str, str], arguments: argparse.Namespace) -> str:
    """Write the results of the rounds so far, if there are any of ours and of a peer."""
    ours, *peer_engines = found
    others = [one for one in peer_engines if isinstance(one, TRL) and found[one]]
    if not others or not found[ours]:
        return "there is nothing to compare"
    rate = statistics.median(one.rate for rounds in found.values() for one in rounds)
    device = processor()
    if arguments.device != "cpu":
        device = torch.cuda.get_device_name(arguments.device)
    kept = (
        *("shape", "length", "batch", "tokens", "attention", "compile", "gradient_checkpointing"),
        *("threads", "processor_time", "pairs"),
    )
    packages = ["trl", "accelerate", *(["liger-kernel"] if find_spec("liger_kernel") else [])]
    return write(
        arguments.out / f"{arguments.name}.json",
        [
            row
            for one in others
            for row in compared(found[ours], found[one], one.name, rate, device)
        ],
        device=device,
        peer_versions={name: metadata.version(name) for name in packages},
        data=arguments.data.name,
        **{name: getattr(arguments, name) for name in kept},
        micro_batch={engine.name: engine.most for engine in others},
        **({"failed": dict(failures)} if failures else {}),
        rounds=len(found[ours]),
        steps_per_round=arguments.steps,
        matrix_gflop_per_s=round(rate / 1e9, 1),
    )


def compared(
    ours: Sequence[Round], theirs: Sequence[Round], name: str, rate: float, device: str
) -> list[dict[str, Any]]:
    """Rows of the results: our engine against one of TRL's, over the rounds that both finished."""
    us, them = zip(*zip(ours, theirs, strict=False), strict=True)
    speed, flops = {}, {}
    for side, rounds in (("ours", us), ("peer", them)):
        speed[side] = statistics.median(done.speed for done in rounds)
        flops[side] = sum(done.flops for done in rounds) / sum(done.pairs for done in rounds)
    ratios = [a.speed / b.speed for a, b in zip(us, them, strict=True)]
    model = sum(done.model_flops for done in us) / sum(done.pairs for done in us)
    peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in device), None)
    memory = [max(done.memory for done in rounds) / 2**20 for rounds in (us, them)]
    return [
        {
            "name": f"{name}: pairs_per_s",
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
            "name": f"{name}: peak_memory",
            "ours": memory[0],
            "peer": memory[1],
            "unit": "MiB above weights, gradients and moments",
            "ratio": memory[1] / memory[0],
        },
    ]
