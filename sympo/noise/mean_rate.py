"""Rates of mistakes that fall with ability or distance, at the scale that gives them their mean."""

import numpy as np

from sympo.numeric import sigmoid


def rates_with_mean(mean: float, gap: np.ndarray) -> np.ndarray:
    """sigmoid(-gap / s), (n,), at the s > 0 that gives it this mean.

    gap: (n,), at least 0 and not all 0. mean: above half of the share of zeros, below 1/2.
    """
    from scipy.optimize import brentq  # takes half a second, which few noise models need

    # in logs, so that the solver meets one scale whatever the unit of the reward
    with np.errstate(divide="ignore"):
        log_gap = np.log(gap)

    def rates(log_s: float) -> np.ndarray:
        with np.errstate(over="ignore"):
            return sigmoid(-np.exp(log_gap - log_s))

    # at these ends every positive gap has rate 0, and every gap has rate 1/2, in float64
    low, high = log_gap[gap > 0].min() - 7, log_gap.max() + 40
    return rates(float(brentq(lambda log_s: rates(log_s).mean() - mean, low, high, xtol=1e-12)))
