"""Training pairs per second and peak memory, against TRL's DPOTrainer on one device.

    python -m experiments.benchmarks.dpo_vs_trl --data FOLDER --tokenizer FOLDER [--device cuda
        --shape llama-3.2-3b --length 2048 --compile]

The --data folder holds HH (SUBSET/{train,test}.jsonl.gz) or UltraFeedback, in the hub's layout. The
--tokenizer folder holds GPT-2's tokenizer, whose ids are taken modulo the model's vocabulary. All
engines train the same Llama from the same random weights, on the same token ids (prompts of up to
half of --length), with the same precomputed reference: logistic loss, beta 0.1, AdamW, clipping,
and no gradient checkpointing by default; float32 on CPU, bfloat16 products on float32 weights on a
GPU. TRL runs with its default sampler, whose batches we use too, and with
`train_sampling_strategy="group_by_length"`, which sorts 50 batches at a time by their longer sides
(TRL 1.16 accepts it only with a column `length` and `remove_unused_columns=False`). Batches are
taken at equal intervals from an epoch and dealt out to the rounds in turn. Each round of an engine
is a separate process, and the engines alternate. Needs no account and no network.

Time is measured between the ends of two optimizer steps. It includes batches, forward, backward,
clipping and AdamW, and the metrics that TRL computes at every step; nothing is logged, saved or
evaluated. Untimed steps come first: one on pairs of a few tokens, after which weights, gradients
and moments are in memory, and --warmup steps on batches like the timed ones. Peak memory is the
increase of the resident peak (VmHWM; on a GPU, of allocations) over memory use after the first
step, and the highest round counts. Speeds are medians over rounds, and ratios are medians of
per-round ratios. Model FLOPs count our matrix products without recomputation.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from experiments.benchmarks.results import processor, write
from sympo.data.hh import HH
from sympo.data.ultrafeedback import UltraFeedback
from sympo.losses import Logistic
from sympo.margins import DPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.shared_prefix_attention import ATTENTION
from sympo.models.texts.token_logps import chunk
from sympo.objective import Objective
from sympo.pipelines.reference import checkpoint_activations
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import Encoded

BATCH, BETA, RATE, NORM = 8, 0.1, 1e-6, 1.0
# dense bfloat16 FLOP/s, from the vendor's datasheets
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
OURS, DEFAULT, GROUPED = ENGINES = ("ours", "TRL, default sampler", "TRL, group_by_length")


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    tied: bool = False

    @property
    def weights(self) -> int:
        """Number of weights in the layers' matrices."""
        narrow = self.hidden * self.key_heads // self.heads
        attention = 2 * self.hidden**2 + 2 * self.hidden * narrow
        return self.layers * (attention + 3 * self.hidden * self.intermediate)


SHAPES = {
    "small": Shape(32_000, 384, 1024, 6, 6, 6),
    "llama-3.2-1b": Shape(128_256, 2048, 8192, 16, 32, 8, tied=True),
    "llama-3.2-3b": Shape(128_256, 3072, 8192, 28, 24, 8, tied=True),
}


@dataclass(frozen=True)
class Pairs:
    """Token ids of pairs, the last 8 of them tiny, with their reference log-probabilities.

    start: (n,), where both responses begin. reference: (n, 2) log-probabilities.
    """

    chosen: list[np.ndarray]
    rejected: list[np.ndarray]
    start: np.ndarray
    reference: np.ndarray

    @cached_property
    def rows(self) -> PackedRows:
        return PackedRows(Encoded(self.chosen, self.start), Encoded(self.rejected, self.start))

    @property
    def longer(self) -> np.ndarray:
        """Tokens of the longer side of each pair, to which padding extends both."""
        both = zip(self.chosen, self.rejected, strict=True)
        return np.array([max(map(len, sides)) for sides in both])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--length", type=int, default=512, help="of a prompt and its response")
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
    needed = arguments.rounds * arguments.steps * BATCH
    if arguments.pairs < needed:
        parser.error(f"--pairs={arguments.pairs} must be at least {needed}, which the rounds use")

    pairs = read(arguments)
    pairs = replace(pairs, reference=alone(reference, pairs, arguments))
    found: dict[str, list[Round]] = {engine: [] for engine in ENGINES}
    for number in range(arguments.rounds):
        for engine, rounds in found.items():
            done = alone(measure, engine, pairs, number, arguments)
            rounds.append(done)
            print(f"{engine}: {done.speed:.2f} pairs/s, {done.memory / 2**20:.0f} MiB", flush=True)
        text = report(found, arguments)
    print(text)


def report(found: dict[str, list[Round]], arguments: argparse.Namespace) -> str:
    """Write the results of the rounds so far."""
    rate = statistics.median(done.rate for rounds in found.values() for done in rounds)
    device = processor()
    if arguments.device != "cpu":
        device = torch.cuda.get_device_name(arguments.device)
    kept = ("shape", "length", "attention", "compile", "gradient_checkpointing", "threads", "pairs")
    return write(
        arguments.out / f"{arguments.name}.json",
        [row for peer in (DEFAULT, GROUPED) for row in compared(peer, found, rate, device)],
        device=device,
        peer_versions={name: metadata.version(name) for name in ("trl", "accelerate")},
        data=arguments.data.name,
        **{name: getattr(arguments, name) for name in kept},
        rounds=len(found[OURS]),
        steps_per_round=arguments.steps,
        matrix_gflop_per_s=round(rate / 1e9, 1),
    )


def compared(
    peer: str, found: dict[str, list[Round]], rate: float, device: str
) -> list[dict[str, Any]]:
    """Rows of the results: our engine against one of TRL's."""
    us, them = found[OURS], found[peer]
    speed, flops = {}, {}
    for name, rounds in (("ours", us), ("peer", them)):
        speed[name] = statistics.median(done.speed for done in rounds)
        flops[name] = sum(done.flops for done in rounds) / sum(done.pairs for done in rounds)
    ratios = [a.speed / b.speed for a, b in zip(us, them, strict=True)]
    model = sum(done.model_flops for done in us) / sum(done.pairs for done in us)
    peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in device), None)
    memory = {name: max(done.memory for done in found[name]) / 2**20 for name in (OURS, peer)}
    return [
        {
            "name": f"{peer}: pairs_per_s",
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
            "name": f"{peer}: peak_memory",
            "ours": memory[OURS],
            "peer": memory[peer],
            "unit": "MiB above weights, gradients and moments",
            "ratio": memory[peer] / memory[OURS],
        },
    ]


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process; returns its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def read(arguments: argparse.Namespace) -> Pairs:
    """Read the pairs of a data set as token ids, without reference log-probabilities."""
    from transformers import AutoTokenizer

    kind = UltraFeedback if list(arguments.data.glob("*_prefs*")) else HH
    dataset = kind(
        path=str(arguments.data), train_pairs=arguments.pairs, validation_pairs=1, test_pairs=1,
        max_length=arguments.length, max_prompt_length=arguments.length // 2,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    data, words = dataset.preferences(0, tokenizer, None).train, SHAPES[arguments.shape].vocabulary
    tiny = [np.arange(4 * i, 4 * i + 4) for i in range(2 * BATCH)]
    return Pairs(
        chosen=[ids % words for ids in data.chosen.ids] + tiny[:BATCH],
        rejected=[ids % words for ids in data.rejected.ids] + tiny[BATCH:],
        start=np.append(np.minimum(data.chosen.start, data.rejected.start), [2] * BATCH),
        reference=np.zeros((0, 2)),
    )


def llama(arguments: argparse.Namespace) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = SHAPES[arguments.shape]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=arguments.length,
        tie_word_embeddings=shape.tied,
    )
    with torch.device(arguments.device):
        return LlamaForCausalLM(config)


def policy(arguments: argparse.Namespace) -> Policy:
    model = llama(arguments)
    if arguments.gradient_checkpointing:
        checkpoint_activations(model)
    precision = "float32" if arguments.device == "cpu" else "bfloat16"
    made = Policy(model, precision, arguments.length, arguments.attention, arguments.compile)
    if made.note:
        print(made.note, flush=True)
    return made


def reference(pairs: Pairs, arguments: argparse.Namespace) -> np.ndarray:
    """Log-probabilities of the pairs that the rounds use, under the initial model."""
    batches = [batch for engine in ENGINES for batch in taken(engine, pairs, arguments)]
    used = np.unique(np.concatenate(batches))
    sides = [
        Encoded([side[i] for i in used], pairs.start[used])
        for side in (pairs.chosen, pairs.rejected)
    ]
    found = np.zeros((len(pairs.start), 2))
    found[used] = policy(arguments).score(PackedRows(*sides), arguments.tokens)
    return found


def taken(engine: str, pairs: Pairs, arguments: argparse.Namespace) -> list[np.ndarray]:
    """The batches of an engine in all rounds."""
    batches, wanted = epoch(engine, pairs), arguments.rounds * arguments.steps
    return batches[:: len(batches) // wanted][:wanted]


def epoch(engine: str, pairs: Pairs) -> list[np.ndarray]:
    """The full batches of an epoch, without the tiny pairs."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    longer = pairs.longer[:-BATCH]
    generator = torch.Generator().manual_seed(0)
    if engine == GROUPED:
        order = list(LengthGroupedSampler(BATCH, lengths=longer.tolist(), generator=generator))
    else:
        order = torch.randperm(len(longer), generator=generator).tolist()
    return [np.array(order[i : i + BATCH]) for i in range(0, len(order) // BATCH * BATCH, BATCH)]


def measure(engine: str, pairs: Pairs, number: int, arguments: argparse.Namespace) -> Round:
    """Run round `number` of an engine."""
    torch.set_num_threads(arguments.threads)
    part = taken(engine, pairs, arguments)[number :: arguments.rounds]
    tiny = np.arange(len(pairs.start) - BATCH, len(pairs.start))
    watch, warmup = Watch(arguments.device), arguments.warmup
    train = train_ours if engine == OURS else train_peer
    train([tiny, *[part[i % len(part)] for i in range(warmup)], *part], pairs, arguments)
    shape = SHAPES[arguments.shape]
    flops = our_flops if engine == OURS else peer_flops
    return Round(
        seconds=watch.ends[-1] - watch.ends[warmup],
        pairs=BATCH * len(part),
        memory=watch.peak() - watch.state,
        flops=sum(flops(shape, pairs, batch) for batch in part),
        model_flops=sum(our_flops(shape, pairs, batch, again=False) for batch in part),
        rate=matrix_rate(shape, arguments.device),
    )


class Watch:
    """Records when each optimizer step ends, and the resident memory after the first."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
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
        self.ends.append(time.perf_counter())

    def peak(self) -> int:
        """Peak bytes since the first step."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resident("VmHWM")


def resident(key: str) -> int:
    """Resident memory in bytes: VmRSS, the current value, or VmHWM, the peak."""
    (kilobytes,) = re.findall(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def train_ours(batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace) -> None:
    trainer = PreferenceTrainer(
        policy(arguments),
        pairs.rows,
        np.ones(len(pairs.start)),
        pairs.reference,
        Objective(DPO(BETA), Logistic()),
        Recipe(epochs=1, batch_size=BATCH, learning_rate=RATE, max_grad_norm=NORM),
        seed=0,
        tokens=arguments.tokens,
    )
    trainer.scorer.model.train()
    for batch in batches:
        trainer.step(batch)


def train_peer(batches: Sequence[np.ndarray], pairs: Pairs, arguments: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

    class Prepared(DPOTrainer):
        """Takes tokenized rows with their reference log-probabilities, in a given order."""

        def _prepare_dataset(self, dataset: Any, *_: object) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *_: object) -> Any:
            return dataset

        def _get_train_sampler(self, *_: object) -> Any:
            return np.concatenate(batches).tolist()

    rows = Dataset.from_dict(
        {
            "prompt_ids": [ids[:at] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
            "chosen_ids": [ids[at:] for ids, at in zip(pairs.chosen, pairs.start, strict=True)],
            "rejected_ids": [ids[at:] for ids, at in zip(pairs.rejected, pairs.start, strict=True)],
            "ref_chosen_logps": pairs.reference[:, 0],
            "ref_rejected_logps": pairs.reference[:, 1],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Prepared(
            llama(arguments),
            args=DPOConfig(
                folder, beta=BETA, precompute_ref_log_probs=True, max_length=arguments.length,
                per_device_train_batch_size=BATCH, max_steps=len(batches), learning_rate=RATE,
                max_grad_norm=NORM, lr_scheduler_type="cosine", bf16=arguments.device != "cpu",
                use_cpu=arguments.device == "cpu",
                gradient_checkpointing=arguments.gradient_checkpointing,
                dataloader_pin_memory=False, save_strategy="no",
                logging_strategy="no", report_to="none", disable_tqdm=True,
            ),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(arguments.tokenizer),
            # the tokenizer's padding id is outside the model's vocabulary
            data_collator=DataCollatorForPreference(
                pad_token_id=0, max_length=arguments.length
            ),
        )  # fmt: skip
        trainer.train()


def flops(shape: Shape, lengths: np.ndarray, scored: float, again: bool = True) -> float:
    """FLOPs of the matrix products of a step, forward and backward.

    again: whether to include the recomputation of attention scores and logits in the backward pass.
    """
    attention = shape.layers * (14 if again else 12) * shape.hidden * (lengths**2).sum()
    head = (8 if again else 6) * shape.vocabulary * shape.hidden * scored
    return 6 * shape.weights * lengths.sum() + attention + head


def our_flops(shape: Shape, pairs: Pairs, batch: np.ndarray, again: bool = True) -> float:
    rows = pairs.rows
    return flops(shape, rows.tokens[batch], rows.lengths[batch].sum(), again)


def peer_flops(shape: Shape, pairs: Pairs, batch: np.ndarray) -> float:
    """FLOPs of TRL, which pads both sides of all pairs to one length; without Triton its head takes
    every token but the last of each."""
    longest = pairs.longer[batch].max()
    return flops(shape, np.full(2 * BATCH, longest), 2 * BATCH * (longest - 1))


def matrix_rate(shape: Shape, device: str) -> float:
    """FLOP/s of matrix products in the model's sizes: those of a layer on 3,072 tokens, and the
    logits of one chunk of our head; bfloat16 on a GPU."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(3072, shape.hidden, shape.hidden)] * 4
    sizes += [(3072, shape.hidden, shape.intermediate)] * 3
    logits = chunk(shape.vocabulary, torch.device(device))
    sizes += [(logits, shape.hidden, shape.vocabulary)]
    operands = [
        (
            torch.randn(n, k, device=device, dtype=dtype),
            torch.randn(k, m, device=device, dtype=dtype),
        )
        for n, k, m in sizes
    ]
    took = []
    for _ in range(5):
        start = time.perf_counter()
        for a, b in operands:
            a @ b
        if device != "cpu":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - start)
    return 2 * sum(n * k * m for n, k, m in sizes) / min(took)


if __name__ == "__main__":
    main()
