import numpy as np
import pandas as pd

from sympo.analysis.choices import chosen
from sympo.report_settings import Choice

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


def test_cells_without_the_setting_stay() -> None:
    assert chosen(cells([("ramp", 0.4, None, 0, 0.5)]), RATE).tolist() == [True]
    plain = cells([("ramp", 0.4, 1.0, 0, 0.5)]).drop(columns=RATE.setting)
    assert chosen(plain, RATE).tolist() == [True]
