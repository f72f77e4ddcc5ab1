import numpy as np
import pytest
import torch

from sympo.evaluation.gradients import gradient_metrics
from sympo.losses import Exponential, Hinge, Logistic, MarginLoss, Ramp, TruncatedHinge
from sympo.margins import DPO, Reward
from sympo.objective import Objective


def test_pairs_without_gradient_by_hand() -> None:
    # the largest slope is 2: up to 0.02 counts as none
    slope = np.array([2.0, 0.02, 0.03, 0.0, 1.0])
    flipped = np.array([True, True, False, False, False])
    assert gradient_metrics(slope, flipped) == {
        "no_gradient_flipped": 1 / 2,
        "gradient_flipped": pytest.approx(1.01),
        "no_gradient_unflipped": 1 / 3,
        "gradient_unflipped": pytest.approx(1.03 / 3),
    }


def test_no_pair_has_a_gradient_if_no_slope_is_positive() -> None:
    found = gradient_metrics(np.zeros(3), np.zeros(3, bool))
    assert (found["no_gradient_unflipped"], found["gradient_unflipped"]) == (1, 0)
    assert found["no_gradient_flipped"] is found["gradient_flipped"] is None


@pytest.mark.parametrize(
    ("loss", "slopes"),
    [
        # at z = -2, -0.5, 0.5, 2
        (Hinge(), [1, 1, 1, 0]),
        (Ramp(), [0, 0.5, 0.5, 0]),
        (TruncatedHinge(), [0, 0, 1, 0]),
        (Logistic(), [1 / (1 + np.exp(z)) for z in (-2, -0.5, 0.5, 2)]),
        (Exponential(), [np.exp(-z) for z in (-2, -0.5, 0.5, 2)]),
    ],
)
def test_slopes_by_hand(loss: MarginLoss, slopes: list[float]) -> None:
    z = torch.tensor([-2.0, -0.5, 0.5, 2.0], dtype=torch.float64)
    with torch.no_grad():
        found = Objective(Reward(), loss).slopes(z)
    np.testing.assert_allclose(found, slopes, rtol=1e-12)


def test_slopes_are_those_of_the_margin_that_training_sees() -> None:
    objective = Objective(DPO(clip=1.0), Ramp())
    z = objective.z(torch.tensor([9.0]), torch.tensor([0.5]))
    assert z.tolist() == [0.5] and objective.slopes(z).tolist() == [0.5]
