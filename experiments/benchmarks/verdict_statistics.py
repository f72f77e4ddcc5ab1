"""Seconds for statistics of 100,000 verdicts with 10,000 bootstrap draws, on one thread.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.verdict_statistics

The peer is a plain bootstrap over prompts: it resamples all prompts, sums their totals in one NumPy
call per draw, computes the same statistics, and takes percentiles. Ours draws the counts of
distinct prompt contents, if there are few, and computes the better BCa interval. The two alternate,
and the median of the paired ratios is reported. The plain bootstrap runs a tenth of the draws; its
time is proportional to draws and is multiplied by ten. The length fit has no bootstrap and counts
in both totals. Needs no GPU, account or network.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.benchmarks.results import processor, write
from sympo.evaluation.verdicts import (
    agreement,
    length_adjusted,
    paired_difference,
    position_bias,
    win_rate,
)
from sympo.statistics import DRAWS

VERDICTS, TARGET = 100_000, 5.0
LENGTH_ADJUSTED = "length_adjusted"

Runs = dict[str, Callable[[], object]]
Array = npt.NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()

    rows = []
    for per_prompt in (1, 5):
        ours, plain = work(per_prompt)
        ours[LENGTH_ADJUSTED]()  # the first call imports statsmodels
        rounds = [alternate(ours, plain) for _ in range(arguments.rounds)]
        for name in [*ours, "all"]:
            if name in plain or name == "all":
                rows.append(row(f"{name}_{per_prompt}_per_prompt", [r[name] for r in rounds]))
                print(rows[-1], flush=True)
    out = arguments.out / "verdict_statistics.json"
    print(write(out, rows, device=processor(), threads=1, verdicts=VERDICTS, draws=DRAWS))


def work(per_prompt: int) -> tuple[Runs, Runs]:
    """Our and the plain bootstrap of each statistic, on the same synthetic verdicts."""
    draw = np.random.default_rng(0)
    cluster = np.arange(VERDICTS) // per_prompt
    a, b = (draw.choice([1, 0.5, 0], VERDICTS, p=[0.5, 0.2, 0.3]) for _ in range(2))
    b = np.where(draw.random(VERDICTS) < 0.6, a, b)
    a[draw.random(VERDICTS) < 0.02] = np.nan
    length, other = draw.integers(50, 400, (2, VERDICTS))
    both = np.isfinite(a) & np.isfinite(b)
    cells = np.eye(9)[(6 * a[both] + 2 * b[both]).astype(int)]
    ours: Runs = {
        "win_rate": partial(win_rate, a, cluster, 0),
        "position_bias": partial(position_bias, b, cluster, 0),
        "paired_difference": partial(paired_difference, a, b, cluster, 0),
        "agreement": partial(agreement, a, b, cluster, 0),
        LENGTH_ADJUSTED: partial(length_adjusted, a, length, other, cluster),
    }
    plain: Runs = {
        "win_rate": partial(plain_mean, a, cluster),
        "position_bias": partial(plain_mean, b, cluster),
        "paired_difference": partial(plain_mean, a - b, cluster),
        "agreement": partial(plain_agreement, cells, cluster[both]),
    }
    return ours, plain


def alternate(ours: Runs, plain: Runs) -> dict[str, tuple[float, float]]:
    """Seconds of our and the plain bootstrap, for each statistic and in total."""
    seconds = {}
    for name, run in ours.items():
        own = timed(run)
        seconds[name] = (own, 10 * timed(plain[name]) if name in plain else own)
    own, other = (sum(side) for side in zip(*seconds.values(), strict=True))
    return {**seconds, "all": (own, other)}


def row(name: str, seconds: list[tuple[float, float]]) -> dict[str, object]:
    own, other = zip(*seconds, strict=True)
    ratios = [theirs / mine for mine, theirs in seconds]
    return {
        "name": f"{name}_s",
        "ours": statistics.median(own),
        "peer": statistics.median(other),
        "unit": f"s for {DRAWS} draws on {VERDICTS} verdicts, one CPU thread",
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        **({"target": TARGET} if name.startswith("all") else {}),
    }


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def plain_mean(values: Array, cluster: Array) -> Array:
    """Percentiles of the mean over items, from a tenth of the draws."""
    valid = np.isfinite(values)
    totals = plain_totals(np.column_stack([values, valid])[valid], cluster[valid])
    sums = plain_sums(totals)
    return np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])


def plain_agreement(cells: Array, cluster: Array) -> Array:
    """Percentiles of raw agreement and Cohen's kappa, from a tenth of the draws."""
    table = plain_sums(plain_totals(cells, cluster)).reshape(-1, 3, 3)
    shares = table / table.sum(axis=(1, 2), keepdims=True)
    raw = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    return np.quantile([raw, (raw - chance) / (1 - chance)], [0.025, 0.975], axis=1)


def plain_totals(columns: Array, cluster: Array) -> Array:
    _, codes = np.unique(cluster, return_inverse=True)
    totals: Array = np.column_stack([np.bincount(codes, column) for column in columns.T])
    return totals


def plain_sums(totals: Array) -> Array:
    draw, n = np.random.default_rng(0), len(totals)
    return np.array(
        [np.bincount(draw.integers(n, size=n), minlength=n) @ totals for _ in range(DRAWS // 10)]
    )


if __name__ == "__main__":
    main()
