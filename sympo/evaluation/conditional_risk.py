"""The risk of a loss at one probability eta = P(y = +1), and the margins that minimise it.

C(z) = eta l(z) + (1 - eta) l(-z) is what a loss asks of the margin of a pair, whatever the model: a
loss is calibrated if the minimising z has the sign of 2 eta - 1, and CPE if it gives eta away.
"""

from collections.abc import Callable

import numpy as np

# of two risks that count as equal: above their rounding
TOLERANCE = 1e-10

Values = Callable[[np.ndarray], np.ndarray]


def conditional_risk(loss: Values, z: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """C(z) at each eta; loss: l, elementwise; z: (n,); eta: (k,), in [0, 1]. Returns (k, n)."""
    risk: np.ndarray = eta[:, None] * loss(z) + (1 - eta[:, None]) * loss(-z)
    return risk


def conditional_minimisers(loss: Values, z: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """The least and the greatest of the margins z that minimise C at each eta, (k, 2).

    loss: l, elementwise; z: (n,), rising; eta: (k,), in [0, 1]. Between two different minimisers, C
    need not be least. An end of z is a minimiser if C falls, or is flat, all the way to it.
    """
    risk = conditional_risk(loss, z, eta)
    least = risk <= risk.min(1, keepdims=True) + TOLERANCE
    return np.stack([z[least.argmax(1)], z[::-1][least[:, ::-1].argmax(1)]], 1)
