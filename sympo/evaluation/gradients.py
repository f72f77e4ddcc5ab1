"""Which pairs a loss still learns from: the slope |l'(z)| at the margin z of each training pair."""

import numpy as np

# a pair has no gradient if its slope is at most this share of the largest among the pairs
NO_GRADIENT = 0.01


def gradient_metrics(slope: np.ndarray, flipped: np.ndarray) -> dict[str, float | None]:
    """The mean slope of flipped and of unflipped pairs, and the share of each kind without
    gradient: |l'(z)| at most 1% of the largest |l'| among all pairs, exactly 0 for losses of
    straight pieces. None for a kind without pairs.

    slope: (n,), |l'(z)| of every pair. flipped: (n,) bool.
    """
    without = slope <= NO_GRADIENT * slope.max()
    found: dict[str, float | None] = {}
    for kind, which in (("flipped", flipped), ("unflipped", ~flipped)):
        some = bool(which.any())
        found[f"no_gradient_{kind}"] = float(without[which].mean()) if some else None
        found[f"gradient_{kind}"] = float(slope[which].mean()) if some else None
    return found
