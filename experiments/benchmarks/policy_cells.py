"""Training speed of the embedded language's policies, against the number of cells trained together.

    python -m experiments.benchmarks.policy_cells [--rounds 20]

A step scores 64 pairs of the default sizes of `dataset=gold_language` and computes the gradient of
their log-probabilities; scoring computes the log-probabilities alone. Compared are the compiled
passes of `StackedLlama`, its passes of PyTorch's operators, and the peer, one cell at a time as
`Policy` with transformers' model. Engines take turns in every round, on one thread, and are timed
by its CPU time, which other programs on the machine disturb least; reported are the fastest round
and the median. The limit counts the products that scores depend on, at the rate of a large product
in the same rounds. Needs no account and no network.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.results import processor, write
from sympo.data.gold_language import GoldLanguage
from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.row_grids import TOKENS, TOKENS_COMPILED, RowGrid, RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.types import Encoded

PAIRS, BATCHES, CELLS, SIDE = 64, 8, (1, 2, 4, 8), 1024
KINDS = {"step": 6, "scoring": 2}  # FLOPs of each product of two numbers
UNITS = {"step": "steps", "scoring": "scorings"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    language = GoldLanguage()
    rows = random_rows(language)
    table = RowTable(rows, torch.device("cpu"), torch.float32)
    batches = [
        start + np.argsort(rows.tokens[start : start + PAIRS], kind="stable")
        for start in range(0, PAIRS * BATCHES, PAIRS)
    ]
    model: Any = TinyLM().build(language.vocabulary(None), 0)
    policy = Policy(model, "float32", int(rows.tokens.max()))
    stacked = {cells: StackedLlama.of(model, cells) for cells in CELLS}
    if stacked[1].compiled is None:
        raise SystemExit(stacked[1].advice)

    engines: dict[tuple[str, int], tuple[Scores, Any]] = {
        ("transformers", 1): (partial(policy.scores, rows), policy.model)
    }
    for cells, llama in stacked.items():
        for engine, logps, tokens in (
            ("compiled", llama.logps, TOKENS_COMPILED), ("torch", llama._logps, TOKENS),
        ):  # fmt: skip
            engines[engine, cells] = (partial(of_grids, logps, tokens, table), llama)
    with torch.no_grad():
        right = policy.scores(rows, batches[0])
        for score, _ in engines.values():
            own = score(batches[0])
            torch.testing.assert_close(own, right.expand_as(own), rtol=1e-5, atol=1e-3)

    took: dict[tuple[str, int, str], list[float]] = {}
    rates = []
    matrix = torch.randn(SIDE, SIDE)
    for number in range(arguments.rounds):
        index = batches[number % BATCHES]
        rates.append(2 * SIDE**3 / timed(partial(torch.mm, matrix, matrix)))
        for (engine, cells), (score, model) in engines.items():
            for kind in KINDS:
                seconds = timed(partial(passes, score, index, model, kind)) / cells
                took.setdefault((engine, cells, kind), []).append(seconds)
    products = statistics.mean(multiplications(table, index, stacked[1].shape) for index in batches)
    found = [
        row(
            engine,
            cells,
            kind,
            seconds,
            took["transformers", 1, kind],
            max(rates) / (KINDS[kind] * products),
        )
        for (engine, cells, kind), seconds in took.items()
        if engine != "transformers"
    ]
    write(
        arguments.out / "policy_cells.json", found, device=processor(), threads=1, pairs=PAIRS,
        tokens=float(rows.tokens.sum()) / BATCHES, gflop=KINDS["step"] * products / 1e9,
        large_product_gflops=max(rates) / 1e9, rounds=arguments.rounds,
    )  # fmt: skip
    for one in found:
        print(f"{one['name']}: {one['ms']:.2f} ms a cell, {one['share']:.0%} of a large product")


Scores = Callable[[np.ndarray], Tensor]


def of_grids(
    logps: Callable[[RowGrid], Tensor], tokens: int, table: RowTable, index: np.ndarray
) -> Tensor:
    return torch.cat([logps(grid) for grid in table.grids(index, tokens)], 1)


def passes(score: Scores, index: np.ndarray, model: Any, kind: str) -> None:
    with torch.set_grad_enabled(kind == "step"):
        scores = score(index)
    if kind == "step":
        model.zero_grad()
        scores.sum().backward()


def timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def row(
    engine: str, cells: int, kind: str, seconds: list[float], peer: list[float], limit: float
) -> dict[str, Any]:
    fastest = min(seconds)
    return {
        "name": f"{engine}, {cells} cells: {UNITS[kind]}_per_s",
        "engine": engine, "together": cells, "ours": 1 / fastest, "peer": 1 / min(peer),
        "unit": f"{UNITS[kind]}/s of cells", "ratio": min(peer) / fastest,
        "peer_is": "transformers", "limit": limit, "share": 1 / fastest / limit,
        "ms": 1e3 * fastest,
        "median_ms": 1e3 * statistics.median(seconds), "peer_ms": 1e3 * min(peer),
        "peer_median_ms": 1e3 * statistics.median(peer),
    }  # fmt: skip


def multiplications(table: RowTable, index: np.ndarray, shape: LlamaShape) -> float:
    """Products of two numbers that the scores of rows depend on: keys and values of all tokens that
    a later one sees; in the last layer, queries and the rest of those that predict."""
    own = table.predicting
    chosen = torch.from_numpy(index)
    length = (own.offset[1:] - own.offset[:-1])[chosen].double()
    shared, first, predictor = (
        part[chosen].double() for part in (own.shared, own.first, own.predictor)
    )
    # keys that the queries from a token on see
    unseen = (length - first) * (first - shared)
    seen = length * (length + 1) / 2 - unseen
    seen_last = seen - predictor * (predictor + 1) / 2
    h, rest = shape.hidden, 2 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate
    tokens, predictors = length.sum(), (length - predictor).sum()
    attention = 2 * h * ((shape.layers - 1) * seen.sum() + seen_last.sum())
    layers = (shape.layers - 1) * tokens * (2 * h**2 + rest) + tokens * 2 * h**2 + predictors * rest
    return float(attention + layers + predictors * h * shape.vocabulary)


def random_rows(language: GoldLanguage) -> PackedRows:
    """Pairs of random symbols with the lengths that the language gives."""
    draw = np.random.default_rng(0)
    prompts = draw.integers(0, language.tokens, (PAIRS * BATCHES, language.prompt_length))
    sides = []
    for _ in range(2):
        lengths = language.shortest_answer - 1 + draw.geometric(language.stop, len(prompts))
        answers = [
            draw.integers(0, language.tokens, n)
            for n in np.minimum(lengths, language.longest_answer) + 1
        ]
        ids = [np.concatenate(both) for both in zip(prompts, answers, strict=True)]
        sides.append(Encoded(ids, np.full(len(ids), language.prompt_length)))
    return PackedRows(*sides)


if __name__ == "__main__":
    main()
