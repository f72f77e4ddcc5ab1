"""Functions that NumPy lacks, without SciPy's import time."""

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2, which never overflows."""
    return 0.5 * (1 + np.tanh(0.5 * x))
