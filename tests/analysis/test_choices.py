from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sympo.analysis import Collection
from sympo.analysis.choices import at_choice, chosen
from sympo.analysis.claims import family_of
from sympo.analysis.comparisons import compare
from sympo.report_settings import Choice, ReportSettings
from sympo.types import BadInput
from tests.analysis.synthetic import write_run

RATE = Choice("job.learning_rate", "selected/validation/noisy_accuracy")


def cells(rows: list[tuple[str, float, float | None, int, float]]) -> pd.DataFrame:
    """Rows of loss, noise, learning rate, seed and validation accuracy."""
    loss, noise, rate, seed, accuracy = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "job": "reward_model", "dataset": "digits", "loss": loss, "noise": noise,
            "noise_model": "symmetric", "seed": seed, RATE.setting: rate, "oracle": False,
            RATE.by: accuracy,
        }
    )  # fmt: skip


def test_each_loss_and_noise_rate_has_its_own_best_rate_over_seeds() -> None:
    found = chosen(
        cells([
            ("ramp", 0.4, 0.1, 0, 0.50), ("ramp", 0.4, 0.1, 1, 0.60),  # mean 0.55
            ("ramp", 0.4, 1.0, 0, 0.58), ("ramp", 0.4, 1.0, 1, 0.54),  # mean 0.56, chosen
            ("ramp", 0.0, 0.1, 0, 0.90), ("ramp", 0.0, 1.0, 0, 0.80),
            ("logistic", 0.4, 0.1, 0, 0.70), ("logistic", 0.4, 1.0, 0, 0.60),
        ]),
        RATE,
    )  # fmt: skip
    assert found.tolist() == [False, False, True, True, True, False, True, False]


def test_ties_choose_the_smaller_value_and_missing_scores_count_for_nothing() -> None:
    tied = cells(
        [("ramp", 0.4, 1.0, 0, 0.5), ("ramp", 0.4, 0.1, 0, 0.5), ("ramp", 0.4, 2.0, 0, np.nan)]
    )
    assert chosen(tied, RATE).tolist() == [False, True, False]


def test_policies_are_matched_at_the_nearest_kl() -> None:
    choice = Choice("job.learning_rate", RATE.by, nearest=2.0)
    rows = [
        ("ramp", 0.4, 0.1, 0, 5.0), ("ramp", 0.4, 0.3, 0, 1.0), ("ramp", 0.4, 0.3, 1, 2.0),
        ("logistic", 0.4, 0.1, 0, 2.4), ("logistic", 0.4, 0.3, 0, 0.9),
        ("hinge", 0.4, 0.1, 0, 2.5), ("hinge", 0.4, 0.3, 0, 1.5),  # as near: the first
        ("sigmoid", 0.4, 0.1, 0, 2.6), ("sigmoid", 0.4, 0.3, 0, 1.4),  # none within a quarter
    ]  # fmt: skip
    rows.insert(1, ("ramp", 0.4, 0.1, 1, 3.0))  # means 4.0 and 1.5
    assert chosen(cells(rows), choice).tolist() == [
        False, False, True, True, True, False, True, False, False, False,
    ]  # fmt: skip


def test_a_value_that_lost_seeds_is_not_chosen() -> None:
    found = cells(
        [
            ("ramp", 0.4, 0.1, 0, 0.5), ("ramp", 0.4, 0.1, 1, 0.5),
            ("ramp", 0.4, 1.0, 0, 0.9), ("ramp", 0.4, 1.0, 1, np.nan),  # one diverged
        ]
    )  # fmt: skip
    assert chosen(found, RATE).tolist() == [True, True, False, False]


def test_cells_without_the_setting_stay() -> None:
    assert chosen(cells([("ramp", 0.4, None, 0, 0.5)]), RATE).tolist() == [True]
    plain = cells([("ramp", 0.4, 1.0, 0, 0.5)]).drop(columns=RATE.setting)
    assert chosen(plain, RATE).tolist() == [True]


def test_long_cells_keep_the_chosen_cells_at_every_epoch() -> None:
    own = cells([("ramp", 0.4, 0.1, 0, 0.5), ("ramp", 0.4, 1.0, 0, 0.6)])
    long = pd.concat([own.assign(epoch="last"), own.assign(epoch="selected")], ignore_index=True)
    found = at_choice(long, own, RATE)
    assert found.index.tolist() == [1, 3] and RATE.setting not in found
    assert at_choice(long, own, None) is long


def test_figures_and_claims_compare_losses_at_their_own_best_rates(tmp_path: Path) -> None:
    # ramp's best rate by validation is 1.0, where it has 0.8; hinge's is 0.1, where it has 0.7
    for loss, rate, noisy, right in (
        ("ramp", 0.1, 0.5, 0.9), ("ramp", 1.0, 0.6, 0.8),
        ("hinge", 0.1, 0.6, 0.7), ("hinge", 1.0, 0.5, 0.6),
    ):  # fmt: skip
        for seed in range(5):
            row = {
                "epoch": 1, "validation/noisy_accuracy": noisy,
                "test/order_accuracy": right + seed / 1000, "test/tie_rate": 0.0,
            }  # fmt: skip
            write_run(
                tmp_path, loss=loss, noise=0.4, seed=seed, tag=str(rate), history=[row],
                settings={"job": {"learning_rate": rate}},
            )  # fmt: skip
    collection = Collection.from_runs(tmp_path)
    choose = {"setting": "job.learning_rate", "by": "selected/validation/noisy_accuracy"}
    claim = {"claim": "Ramp leads", "source": "here", "kind": "greater", "a": {"loss": "ramp"},
             "b": {"loss": "hinge"}, "metric": "last/test/order_accuracy"}  # fmt: skip
    figure = {"name": "best", "metric": "test/order_accuracy", "x": "loss", "lines": ["noise"]}
    asked = ReportSettings.of(
        {
            "comparisons": [figure | {"choose": choose}],
            "claims": [claim | {"choose": choose}, claim],
        }
    )
    (drawn,) = compare(collection, asked.comparisons[0])
    assert drawn.csv().set_index("loss")["mean"].round(3).to_dict() == {
        "ramp": 0.802,
        "hinge": 0.702,
    }
    chosen_claim, pooled = (family_of(collection, one) for one in asked.claims)
    assert chosen_claim.mean.tolist() == [pytest.approx(0.1)]
    assert "differ in job.learning_rate" in pooled.why_not
    with pytest.raises(BadInput, match=r"report.claims\[0\].choose.by is missing"):
        ReportSettings.of({"claims": [claim | {"choose": {"setting": "job.learning_rate"}}]})
