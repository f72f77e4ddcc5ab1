"""Metrics of a reward function on preference pairs.

Rewards are (n,) float64 arrays over items; the margin of a pair is g = r(first) - r(second). All
shares count a tie, g = 0, as one half.
"""

import numpy as np

from sympo.evaluation.flips import effective_pairs, flip_auroc, noise_estimate
from sympo.numeric import sigmoid
from sympo.types import NoisyPairs, PreferencePairs

CALIBRATION_BINS = 15


def gaps(rewards: np.ndarray, pairs: PreferencePairs) -> np.ndarray:
    """g = r(first) - r(second) of every pair; (n,)."""
    gap: np.ndarray = rewards[pairs.first] - rewards[pairs.second]
    return gap


def agreement(gap: np.ndarray, label: np.ndarray) -> np.ndarray:
    """1 if gap and label have the same sign, 0 if opposite ones, 1/2 for ties; (n,)."""
    agreed: np.ndarray = (np.sign(gap) * np.sign(label) + 1) / 2
    return agreed


def standard_error(scores: np.ndarray, pairs: PreferencePairs) -> float:
    """Standard error of the mean of per-pair scores when the items are the sample.

    Two pairs are correlated if they share an item, so

        Var = n^-2 sum over p, q that share an item of e_p e_q,  e = score - mean,

    which for disjoint pairs is the usual sum of e_p^2 / n^2. Source: the dyadic-robust variance of
    Fafchamps and Gubert (2007); Aronow, Samii and Assenova (2015).
    """
    n = len(scores)
    if n == 0:
        return float("nan")
    error = scores - scores.mean()
    size = int(max(pairs.first.max(), pairs.second.max())) + 1
    per_item = np.bincount(pairs.first, error, size) + np.bincount(pairs.second, error, size)
    # a pair with itself is counted once at each of its two items
    variance = (np.square(per_item).sum() - np.square(error).sum()) / n**2
    # the estimate can be too small or negative; that of independent pairs is its floor
    return float(np.sqrt(max(variance, np.square(error).sum() / n**2)))


def clustered_error(scores: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of the mean of per-pair scores when the clusters are the sample.

        Var = n^-2 sum over clusters of (sum of e_p)^2,  e = score - mean

    cluster: (n,) of integers from 0 on. Source: Liang and Zeger (1986), for a mean.
    """
    error = scores - scores.mean()
    return float(np.sqrt(np.square(np.bincount(cluster, error)).sum()) / len(scores))


def calibration_error(gap: np.ndarray, label: np.ndarray) -> float:
    """Expected calibration error of P(y = +1) = sigmoid(g) against Bradley-Terry labels y.

    sum over bins of (n_bin / n) |mean predicted - share of y = +1|, in 15 equal bins of [0, 1].
    Against the true order, a perfect reward would look miscalibrated.
    Source: Naeini, Cooper and Hauskrecht (2015).
    """
    predicted = sigmoid(gap)
    bins = np.minimum((predicted * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    difference = np.bincount(bins, predicted - (label > 0), CALIBRATION_BINS)
    return float(np.abs(difference).sum() / len(gap))


def gap_slope(gap: np.ndarray, truth: np.ndarray) -> float | None:
    """The least-squares slope of the learned gap g on the true gap t, without intercept, because
    both change sign with the order of a pair: sum t g / sum t^2; (n,) each.

    1 if the rewards are those of Bradley-Terry at temperature 1. None if every t is 0.
    """
    square = float((truth**2).sum())
    return float((truth * gap).sum()) / square if square else None


def order_metrics(gap: np.ndarray, pairs: PreferencePairs) -> dict[str, float | None]:
    """Pairwise accuracy against the true order with its standard error, tie rate, calibration and
    the slope of the gaps.

    gap: (n,), g of every pair.
    """
    if pairs.gap is None:
        raise ValueError("order metrics need the true rewards of the pairs")
    scores = agreement(gap, pairs.gap)
    return {
        "order_accuracy": float(scores.mean()),
        "order_accuracy_se": standard_error(scores, pairs),
        "tie_rate": float((gap == 0).mean()),
        "ece": calibration_error(gap, pairs.label),
        "gap_slope": gap_slope(gap, pairs.gap),
    }


def clean_metrics(
    rewards: np.ndarray, pairs: PreferencePairs, cluster: np.ndarray
) -> dict[str, float | None]:
    """Accuracy against clean labels, with its standard error over clusters of pairs, and the tie
    rate; with known true rewards also pairwise accuracy and calibration.

    cluster: (n,) of integers from 0 on, the prompt of each pair.
    """
    gap = gaps(rewards, pairs)
    scores = agreement(gap, pairs.label)
    found: dict[str, float | None] = {
        "label_accuracy": float(scores.mean()),
        "label_accuracy_se": clustered_error(scores, cluster),
        "tie_rate": float((gap == 0).mean()),
    }
    if pairs.gap is not None:
        in_order = agreement(gap, pairs.gap)
        found["order_accuracy"] = float(in_order.mean())
        found["order_accuracy_se"] = clustered_error(in_order, cluster)
        # pairs are stored as chosen and rejected: in both orders, half of the labels are +1
        both = np.concatenate([gap, -gap])
        found["ece"] = calibration_error(both, np.concatenate([pairs.label, -pairs.label]))
        found["gap_slope"] = gap_slope(gap, pairs.gap)
    return found


def label_metrics(rewards: np.ndarray, noisy: NoisyPairs) -> dict[str, float | None]:
    """Accuracy against the noisy and the clean labels, the share of flipped pairs on which the
    rewards agree with the flipped label (None if no pair is flipped), how well margins find flips,
    and the noise rate that they imply (`sympo.evaluation.flips`)."""
    gap = gaps(rewards, noisy.pairs)
    against_noisy = agreement(gap, noisy.noisy_label)
    margin = gap * np.sign(noisy.noisy_label)
    rate, error = noise_estimate(margin)
    return {
        "noisy_accuracy": float(against_noisy.mean()),
        "clean_accuracy": float(agreement(gap, noisy.pairs.label).mean()),
        "flipped_memorised": float(against_noisy[noisy.flipped].mean())
        if noisy.flipped.any()
        else None,
        "flip_auroc": flip_auroc(margin, noisy.flipped),
        "noise_estimate": rate,
        "noise_estimate_se": error,
        "effective_pairs": effective_pairs(int(noisy.flipped.sum()), len(gap)),
    }
