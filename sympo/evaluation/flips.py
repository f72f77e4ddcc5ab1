"""How well margins find flipped labels, and the noise rate that they imply.

m is the margin of a pair towards its noisy label, y~ (r(first) - r(second)): a pair with a negative
m contradicts its label.
"""

import math

import numpy as np

# the share of pairs that serve as anchors
ANCHORS = 0.2


def flip_auroc(margin: np.ndarray, flipped: np.ndarray) -> float | None:
    """AUROC of finding flips by -m: P(-m of a flipped pair > -m of another), ties half.

    margin: (n,), m of every pair. flipped: (n,) bool. None if all or none are flipped. Every sum is
    a whole number. Source: Mann and Whitney (1947).
    """
    ordered = np.sort(margin)
    found = margin[flipped]
    # twice the mean rank of ties, from 1 on
    below = np.searchsorted(ordered, found), np.searchsorted(ordered, found, "right")
    return auroc(int((below[0] + below[1] + 1).sum()), len(found), len(margin))


def auroc(ranks: int, flips: int, n: int) -> float | None:
    """`flip_auroc` from the doubled ranks of the flipped pairs by m, summed."""
    pairs = 2 * flips * (n - flips)
    return 1 - (ranks - flips * (flips + 1)) / pairs if pairs else None


def noise_estimate(margin: np.ndarray) -> tuple[float, float]:
    """The noise rate without clean labels, and its standard error.

    The share of labels that the model contradicts, ties half, among the fifth of the pairs with the
    largest |m|. If labels flip at one rate e and the model is right on a share a of these anchors,
    its expectation is e + (1 - 2e)(1 - a): e if the anchors are right, otherwise above it. The
    pairs must not have been trained on, since a model that memorises flips contradicts none.
    Source: anchor points (Liu and Tao 2016; Patrini et al. 2017).
    """
    n = anchors(len(margin))
    side = np.sign(margin[np.argsort(-np.abs(margin), kind="stable")[:n]])
    return estimate_from(float(side.sum()), n)


def anchors(n: int) -> int:
    """How many of n pairs serve as anchors."""
    return max(1, round(ANCHORS * n))


def estimate_from(sides: float, n: int) -> tuple[float, float]:
    """`noise_estimate` from the sum of sign(m) over n anchors."""
    rate = (n - sides) / 2 / n
    return rate, math.sqrt(rate * (1 - rate) / n)


def effective_pairs(flips: int, n: int) -> float:
    """n (1 - 2 e)^2, e = flips / n: how many clean pairs carry as much as n noisy ones.

    The noisy risk of a symmetric loss is (1 - 2 e) R + e K, and deviates from its mean over n pairs
    by about 1 / sqrt(n), so that the excess of R is bounded by a multiple of 1 / ((1 - 2 e)
    sqrt(n)), which depends on e and n only through this number.
    """
    return (n - 2 * flips) ** 2 / n


def split_margins(margin: np.ndarray, flipped: np.ndarray) -> dict[str, float | None]:
    """The mean m of flipped and of unflipped pairs; None without any."""
    parts = {"margin_flipped": margin[flipped], "margin_unflipped": margin[~flipped]}
    return {name: float(part.mean()) if len(part) else None for name, part in parts.items()}


def filter_metrics(doubt: np.ndarray, flipped: np.ndarray) -> dict[str, float | None]:
    """The noise rate by a filter, the share of pairs that it doubts, and its precision and recall
    as a finder of flips.

    doubt: (n,), the probability that each label is wrong, whose mean is the rate; pairs above 1/2
    are suspects. flipped: (n,) bool. precision: of the suspects, the share that is flipped, None
    without suspects; recall: of the flipped pairs, the share that is doubted, None without flips.
    """
    suspects = doubt > 0.5
    right = int((suspects & flipped).sum())
    doubted, flips = int(suspects.sum()), int(flipped.sum())
    return {
        "filter_rate": float(doubt.mean()),
        "filter_share": doubted / len(suspects),
        "filter_precision": right / doubted if doubted else None,
        "filter_recall": right / flips if flips else None,
    }
