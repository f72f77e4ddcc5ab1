"""Exact risks of one fixed model, for every loss that can be configured."""

import numpy as np

from experiments.lemma1_risk import RATES, risks
from experiments.loss_gallery import losses
from sympo.types import PreferencePairs


def test_risks_agree_with_random_orders_and_differ_in_the_control() -> None:
    rng = np.random.default_rng(0)
    gap = rng.normal(scale=3, size=1000)
    label = np.where(rng.random(1000) < 1 / (1 + np.exp(-gap)), 1.0, -1.0)
    index = np.arange(1000)
    pairs = PreferencePairs(index.astype(np.uint64), index, index + 1000, label, gap)
    table = risks(pairs, gap / 2)
    assert len(table) == 2 * len(RATES) * len(losses())
    random, control = (
        table[table["presentation"] == presentation] for presentation in ("random", "by_gap")
    )
    assert random["difference"].abs().max() < 1e-9
    assert (control["difference"] > 1e-3)[
        control["loss"].isin(["logistic", "ramp", "sigmoid"])
    ].all()
    at_mean = random[(random["loss"] == "ramp") & (random["rate_of_positive"] == 0)]
    clean = np.clip((1 - label * gap / 2) / 2, 0, 1).mean()
    assert np.isclose(at_mean["symmetric_risk"].item(), 0.6 * clean + 0.2)
