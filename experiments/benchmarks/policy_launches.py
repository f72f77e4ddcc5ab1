"""Counts the kernels and bytes of a GPU that trains the embedded language's small policies.

    python -m experiments.benchmarks.policy_launches

Nothing is timed. The policies of one seed of the figure, seven losses at five rates, take a step on
64 pairs, score pairs and draw responses by the operators that a GPU would run; each counts what it
reads and writes once, as if there were no cache. With the time of a launch (15 us, as seen on an
H200) and its bandwidth, the counts give a least time for all five seeds. Needs no GPU, data or
network.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from experiments.benchmarks.results import write
from experiments.benchmarks.step_traffic import LAUNCH, RATE_OF_MEMORY, Traffic
from sympo.losses import CDPO, RDPO, ROPO, Hinge, Logistic, Ramp, Sigmoid
from sympo.margins import DPO
from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.row_grids import TOKENS_ON_GPU, RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.sampling import Sampling
from sympo.sampling.stacked import sample_stacked
from sympo.training.optimizer import Recipe
from sympo.training.stacked_objective import StackedObjective
from sympo.training.stacked_policies import StackedPreferenceTrainer, score
from sympo.types import Encoded, Vocabulary

RATES, SEEDS, EPOCHS, PAIRS, BATCH = (0.0, 0.1, 0.2, 0.3, 0.4), 5, 6, 4000, 64
EVALUATIONS, SCORED, PROMPTS, PROMPT, LONGEST = 7, (1000, 1000, 1024), 1000, 6, 17
VOCABULARY = Vocabulary(size=34, bos=None, eos=32, pad=33)
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    # as on a GPU: PyTorch's operators, and its passes
    cast(Any, StackedLlama)._can_compile = False
    cast(Any, StackedLlama).tokens_per_pass = TOKENS_ON_GPU
    losses = [made for rate in RATES for made in of_rate(rate)]
    rows = responses(max(SCORED))
    trainer = trained(rows, losses)
    step = counted(lambda: trainer.step(np.arange(BATCH)))
    table, model = trainer.table, trainer.model
    scoring = [counted(partial(score, model, table, pairs)) for pairs in SCORED]
    one, sampling = (
        StackedLlama.of(built(), 1),
        Sampling(
            prompts=PROMPTS, batch_size=PROMPTS, temperature=1.0, top_p=1.0, max_new_tokens=20
        ),
    )
    prompts = [np.arange(PROMPT)] * PROMPTS
    drawing = counted(lambda: sample_stacked(one, prompts, VOCABULARY, sampling, 0))
    steps, cells = EPOCHS * -(-PAIRS // BATCH), len(losses)
    # the draws of a cell are scored by the reference one cell after another
    scored = sum(one.launched for one in scoring) + cells * scoring[0].launched
    launches = SEEDS * (steps * step.launched + EVALUATIONS * (scored + drawing.launched))
    scored_bytes = sum(one.moved for one in scoring) + scoring[0].moved
    moved = steps * step.moved + EVALUATIONS * (scored_bytes + cells * drawing.moved)
    found = {
        "a step of 35 policies: kernels": (step.launched, "kernels"),
        "a step of a policy: MB": (step.moved / cells / 1e6, "MB"),
        "an evaluation: kernels": (scored + drawing.launched, "kernels"),
        "175 policies: launches, s at 15 us": (launches * LAUNCH, "s"),
        "175 policies: memory, s at 4.8 TB/s": (SEEDS * moved / RATE_OF_MEMORY, "s"),
    }
    named = [
        {"name": name, "ours": value, "peer": None, "unit": unit, "ratio": None, "peer_is": None}
        for name, (value, unit) in found.items()
    ]
    print(write(arguments.out / "policy_launches.json", named, device="none: counted, not timed"))


def counted(work: Callable[[], object]) -> Traffic:
    with Traffic() as traffic:
        work()
    return traffic


def of_rate(rate: float) -> list[Any]:
    return [Logistic(), Hinge(), Sigmoid(), Ramp(), ROPO(), CDPO(rate), RDPO(rate)]


def built() -> Any:
    return TinyLM().build(VOCABULARY, 0)


def responses(pairs: int) -> PackedRows:
    """Pairs of responses as long as those of the embedded language."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(7, LONGEST + 1, (2, pairs))
    sides = [
        [np.append(np.arange(PROMPT), draw.integers(0, 32, size)) for size in own]
        for own in lengths
    ]
    return PackedRows(*(Encoded(side, np.full(pairs, PROMPT)) for side in sides))


def trained(rows: PackedRows, losses: list[Any]) -> StackedPreferenceTrainer:
    labels, reference = np.ones((len(losses), len(rows))), np.zeros((len(rows), 2))
    trainer = StackedPreferenceTrainer(
        StackedLlama.of(built(), len(losses)), RowTable(rows, CPU, torch.float32), rows.lengths,
        labels, reference, DPO(), losses, Recipe(learning_rate=1e-3, warmup_steps=0), seed=0,
    )  # fmt: skip
    # on a GPU a loss is called once for all of its cells
    trainer.objective = StackedObjective(DPO(), losses, CPU, shared=True)
    return trainer


if __name__ == "__main__":
    main()
