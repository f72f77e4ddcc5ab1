"""The sentence that a page begins with: its verdict agrees with the interval beside it."""

import pandas as pd
import pytest

from sympo.analysis.html import outcome

METRIC = "last/test/order_accuracy"


@pytest.mark.parametrize(
    ("low", "p_holm", "end"),
    [
        (0.007, 0.02, "the difference is significant after Holm's correction."),
        (0.007, 0.1, "the difference is not significant after Holm's correction."),
        (-0.007, 0.6, "too little to separate the two."),
    ],
)
def test_verdict_of_the_first_two_losses(low: float, p_holm: float, end: str) -> None:
    top = pd.DataFrame(
        {
            "variant": ["ramp", "logistic"],
            "metric": METRIC,
            "noise": 0.4,
            "mean": [0.79, 0.76],
            "low": [0.75, 0.72],
            "high": [0.82, 0.79],
            "n_seeds": 1,
        }
    )
    differences = pd.DataFrame(
        {
            "noise": [0.4],
            "metric": METRIC,
            "a": "ramp",
            "b": "logistic",
            "n_seeds": 1,
            "difference": 0.03,
            "low": low,
            "high": 0.056,
            "p_holm": p_holm,
        }
    )
    assert outcome._sentence(top, differences).endswith(end)
