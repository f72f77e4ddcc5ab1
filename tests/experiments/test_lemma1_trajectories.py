"""Training under asymmetric noise beside training under symmetric noise, from planted curves."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.lemma1_trajectories import figure_of, trajectories
from sympo.analysis import save_figure
from sympo.types import BadInput


def curves(shift: float) -> pd.DataFrame:
    """Three seeds at (0.1, 0.5); asymmetric noise shifts accuracy, and the control by -0.2."""
    rows = []
    for seed, epoch, k, presentation in itertools.product(
        range(3), (5, 10), (0.0, -2 / 3), ("random", "by_gap")
    ):
        effect = {"random": shift, "by_gap": -0.2}[presentation] * (k != 0)
        accuracy = 0.7 + 0.01 * seed + epoch / 1000 + effect
        rows.append(
            {
                "loss": "ramp",
                "noise": 0.3,
                "seed": seed,
                "epoch": epoch,
                "noise_model.k": k,
                "noise_model.presentation": presentation,
                "test/order_accuracy": accuracy + 0.001 * seed * (k != 0),
                "test/spearman": accuracy - 0.1,
            }
        )
    return pd.DataFrame(rows)


def test_means_differences_and_ranges() -> None:
    table = trajectories(curves(shift=0.005))
    assert set(zip(table["rate_of_positive"], table["rate_of_negative"], strict=True)) == {
        (0.1, 0.5)
    }
    row = table[
        (table["presentation"] == "random")
        & (table["metric"] == "test/order_accuracy")
        & (table["epoch"] == 10)
    ].iloc[0]
    assert row["n_seeds"] == 3 and row["within"]
    assert row["symmetric"] == pytest.approx(0.72)
    assert row["symmetric_least"] == pytest.approx(0.71)
    assert row["symmetric_most"] == pytest.approx(0.73)
    # paired differences are 0.005, 0.006 and 0.007
    assert row["difference"] == pytest.approx(0.006)
    half = 4.302653 * 0.001 / np.sqrt(3)
    assert (row["low"], row["high"]) == pytest.approx((0.006 - half, 0.006 + half), abs=1e-8)
    assert not table.loc[table["presentation"] == "by_gap", "within"].any()


def test_a_figure_has_a_row_per_pair_of_rates_that_was_run(tmp_path: Path) -> None:
    figure = figure_of(trajectories(curves(shift=0.0)))
    assert [ax.get_title() for ax in figure.axes] == ["ramp, rates (0.1, 0.5)"]
    assert len(figure.axes[0].lines) == 3
    assert all(path.stat().st_size for path in save_figure(figure, tmp_path / "trajectories"))


def test_other_curves_are_refused() -> None:
    with pytest.raises(BadInput, match="no cells of experiment=lemma1"):
        trajectories(curves(0.0).assign(noise=0.1))
