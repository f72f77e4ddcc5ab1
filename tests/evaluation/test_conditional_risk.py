"""Conditional risks and their minimisers, against closed forms."""

import numpy as np
import pytest

from sympo.evaluation.conditional_risk import (
    Values,
    conditional_minimisers,
    conditional_risk,
)

ETA = np.array([0.05, 0.3, 0.5, 0.6, 0.9])
Z = np.arange(-8000, 8001) / 1000


def logistic(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp(0, -z))


def square(z: np.ndarray) -> np.ndarray:
    return np.asarray((1 - z) ** 2)


def hinge(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(0, 1 - z))


def ramp(z: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip((1 - z) / 2, 0, 1))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(z)))


def wave(z: np.ndarray) -> np.ndarray:
    """Symmetric and not calibrated, with zeros at ..., -7, -3, 1, 5, ..."""
    return (1 - np.sin(np.pi / 2 * z)) / 2


def test_hand_derived_risk() -> None:
    found = conditional_risk(square, np.array([0.0, 1.0]), np.array([0.25, 1.0]))
    np.testing.assert_allclose(found, [[1, 3], [1, 0]])


@pytest.mark.parametrize(
    ("loss", "link"),
    [(logistic, lambda eta: np.log(eta / (1 - eta))), (square, lambda eta: 2 * eta - 1)],
)
def test_minimiser_of_a_cpe_loss_is_its_link(loss: Values, link: Values) -> None:
    found = conditional_minimisers(loss, Z, ETA)
    np.testing.assert_allclose(found, np.stack([link(ETA)] * 2, 1), atol=5.1e-4)


def test_minimisers_of_the_hinge_are_the_classes_and_at_one_half_all_between() -> None:
    np.testing.assert_allclose(
        conditional_minimisers(hinge, Z, ETA), [[-1, -1], [-1, -1], [-1, 1], [1, 1], [1, 1]]
    )


@pytest.mark.parametrize(("loss", "right"), [(ramp, [1, 8]), (sigmoid, [8, 8]), (wave, [-7, 5])])
def test_minimisers_of_a_symmetric_loss_know_the_sign_of_2_eta_minus_1_only(
    loss: Values, right: list[float]
) -> None:
    wrong = [-right[1], -right[0]]
    expected = np.array([wrong, wrong, [-8, 8], right, right])
    np.testing.assert_allclose(conditional_minimisers(loss, Z, ETA), expected, atol=5.1e-4)
