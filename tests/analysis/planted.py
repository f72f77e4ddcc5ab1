"""Cells with planted numbers."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis import Collection
from sympo.analysis.collect import _incomplete_frame
from sympo.analysis.frames import KEYS

SEEDS = 5


def planted(
    value: Callable[..., float | None],
    metric: str = "last/test/spearman",
    seeds: int = SEEDS,
    **settings: list[Any],
) -> Collection:
    """Cells of every combination of settings; value: of one cell, from its settings and `seed`."""
    grid = {"loss": ["ramp"], "noise": [0.3], "noise_model": ["symmetric"]} | settings
    rows = []
    for *given, seed in product(*grid.values(), range(seeds)):
        cell = dict(zip(grid, given, strict=True))
        number = value(**cell, seed=seed)
        rows.append(
            {"job": "reward_model", "dataset": "digits"} | cell | {"seed": seed, metric: number}
        )
    frame = pd.DataFrame(rows)
    leaves = [name for name in settings if name not in KEYS]
    frame = frame.assign(oracle=False)[[*KEYS, *leaves, "oracle", metric]]
    curves = frame.drop(columns=metric).assign(epoch=1)
    return Collection(frame, curves, _incomplete_frame([]))


def around(mean: float, sd: float) -> Callable[[int], float]:
    """Numbers of five seeds with this mean and standard deviation."""
    spread = np.array([-1.0, 0.5, 0.0, -0.5, 1.0])
    return lambda seed: float(mean + sd * spread[seed] / spread.std(ddof=1))
