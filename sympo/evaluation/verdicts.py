"""Win rates, position bias, differences and agreement, with intervals; prompts are the sample.

A score is 1 for a win, 0.5 for a tie, 0 for a loss, or their mean over several annotators; NaN is
an invalid verdict, which is counted and never scored. Items of one prompt share a cluster, any
hashable key, and are drawn together.

Intervals are 95%, the BCa bootstrap over prompts of `sympo.statistics`. They do not depend on the
order of the verdicts.
"""

import warnings
from collections.abc import Hashable, Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from sympo import seeding
from sympo.numeric import sigmoid
from sympo.statistics import DRAWS, Estimate, Floats, Z, bca, bca_mean, cluster_totals
from sympo.types import BadInput

Integers = npt.NDArray[np.int64]
# singular values, below which the fit's Hessian, their square, is lost in rounding
_COLLINEAR = 1e-7
Clusters = npt.NDArray[Any] | Sequence[Hashable]


def win_rate(
    score: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often the policy's response wins, counting ties as half, over the valid items.

    score, cluster: (n,). Returns win_rate, win_rate_se, win_rate_low, win_rate_high; tie_rate, the
    share of 0.5 among the valid items; invalid_rate, over all items; n, the number of valid items.
    NaN if nothing is valid.
    """
    scores = _scores("score", score)
    valid = np.isfinite(scores)
    shown, keys = scores[valid], _codes(cluster)[valid]
    draw = seeding.generator(seed, "bootstrap", "win_rate")
    win = bca_mean(shown, keys, draw, (0, 1), draws)
    return {
        **win.named("win_rate"),
        "tie_rate": _share(shown == 0.5),
        "invalid_rate": _share(~valid),
        "n": len(shown),
    }


def position_bias(
    choice: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often a judge prefers the response shown first, counting ties as half: 1/2 is unbiased
    if every item is shown in both orders.

    choice: (m,), one per question: 1 if the first response won, 0.5 for a tie, 0 if the second
    won, NaN if invalid. cluster: (m,). Returns first_shown_wins and its _se, _low, _high.
    """
    choices = _scores("choice", choice)
    valid = np.isfinite(choices)
    draw = seeding.generator(seed, "bootstrap", "position_bias")
    first = bca_mean(choices[valid], _codes(cluster)[valid], draw, (0, 1), draws)
    return first.named("first_shown_wins")


def paired_difference(
    score_a: npt.ArrayLike,
    score_b: npt.ArrayLike,
    cluster: Clusters,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Mean of score_a - score_b, of two policies against the same opponent on the same items.

    Pairing removes the effect of a prompt on both. score_a, score_b, cluster: (n,). Returns
    difference and its _se, _low, _high, over the n items valid for both.
    """
    difference = _scores("score_a", score_a) - _scores("score_b", score_b)
    valid = np.isfinite(difference)
    draw = seeding.generator(seed, "bootstrap", "paired_difference")
    paired = bca_mean(difference[valid], _codes(cluster)[valid], draw, (-1, 1), draws)
    return {**paired.named("difference"), "n": int(valid.sum())}


def agreement(
    a: npt.ArrayLike, b: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often two judges agree on win, tie or loss, raw and beyond chance.

    Cohen's kappa = (p_o - p_e) / (1 - p_e), with p_o the raw agreement and p_e the agreement
    expected by chance from the two judges' shares of win, tie and loss.

    a, b, cluster: (n,); a mean over annotators is a win above 0.5 and a loss below. Returns
    agreement and kappa, each with _se, _low, _high, over the n items valid for both. kappa is NaN
    if both judges give the same verdict throughout; such bootstrap samples are left out of its
    interval. Source: Cohen (1960).
    """
    scores = _scores("a", a), _scores("b", b)
    valid = np.isfinite(scores[0]) & np.isfinite(scores[1])
    said = [np.sign(one[valid] - 0.5).astype(int) + 1 for one in scores]
    cells = np.eye(9)[3 * said[0] + said[1]]
    totals = cluster_totals(cells, _codes(cluster)[valid])
    draw = seeding.generator(seed, "bootstrap", "agreement")
    raw, kappa = bca([(_same, (0, 1)), (_kappa, (-1, 1))], totals, draw, draws)
    low, high = kappa.low, kappa.high
    if raw.value == 1 and np.isfinite(kappa.value):
        # no sample of perfect agreement disagrees: kappa's bound follows from the raw one
        chance = _chance(totals.sum(axis=0))
        low, high = max(1 - (1 - raw.low) / (1 - float(chance)), -1.0), 1.0
    kappa = Estimate(kappa.value, kappa.se, low, high)
    return {**raw.named("agreement"), **kappa.named("kappa"), "n": int(valid.sum())}


def length_adjusted(
    score: npt.ArrayLike,
    length: npt.ArrayLike,
    other_length: npt.ArrayLike,
    cluster: Clusters,
) -> dict[str, float]:
    """The win rate that a logistic regression on the length difference predicts for responses of
    equal length.

    E[score] = sigmoid(theta + phi tanh(d / sd(d))), d = length - other_length over the valid items,
    divided by its standard deviation and not centred; the win rate at d = 0 is sigmoid(theta), its
    interval sigmoid(theta +- 1.96 se) with se robust to clusters.

    This is not AlpacaEval 2's length-controlled win rate, but its regression reduced to one pair
    of policies. The published one has a term psi gamma_x, in which the difficulty gamma_x of
    instruction x comes from one fit to the verdicts on many models, strong and weak, and its value
    is the mean over x of the prediction at d = 0; it has an L1 penalty chosen by cross-validation;
    and it adds, with a small weight, verdicts on the baseline prompted for short and for long
    responses. Over 56 models of its leaderboard ours differs from the published value by 4.8 points
    at the median and 28 at most, and from AlpacaEval's own minimal regression, which has none of
    these terms, by 0.03 at the median: the two numbers are not comparable.

    score, length, other_length, cluster: (n,), lengths in any one unit. Returns
    length_adjusted_win_rate, _low, _high. If all differences are equal it is the plain win rate.
    NaN if the regression has no finite solution: nothing valid, all wins or all losses, lengths
    that separate wins from losses, or differences so far from 0 for their spread that their tanh
    is constant; the ends are also NaN with a single prompt, or if the fit is
    exact (all ties). Raises BadInput on a length that is not finite.
    After Dubois, Galambosi, Liang and Hashimoto (2024), arXiv 2404.04475.
    """
    scores = _scores("score", score)
    valid = np.isfinite(scores)
    apart = _lengths("length", length) - _lengths("other_length", other_length)
    features = _length_features(apart[valid])
    theta = se = float("nan")
    if _identified(features) and _has_finite_fit(scores[valid], features[:, -1]):
        theta, se = _intercept(scores[valid], features, _codes(cluster)[valid])
    value, low, high = sigmoid(np.array([theta, theta - Z * se, theta + Z * se])).tolist()
    name = "length_adjusted_win_rate"
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def items_needed(
    half_width: float, tie_rate: float, annotators: int = 1, kappa: float = 1.0
) -> int:
    """Items, one per prompt, for a win rate's 95% interval of +- half_width.

    n = (1.96 / h)^2 (1 - t) / 4 (kappa + (1 - kappa) / m). A score of 1, 1/2, 0 with a share t of
    ties has the variance p (1 - p) - t / 4, at most (1 - t) / 4, at a win rate p of 1/2. The mean
    of m annotators whose scores correlate by kappa has kappa + (1 - kappa) / m times that. (For
    wins and losses in equal shares the correlation is Cohen's kappa, 2 agreement - 1; with ties it
    is the quadratically weighted one. Source: Fleiss and Cohen 1973.)

    half_width: h in (0, 0.5); tie_rate: t in [0, 1); annotators: m, different people per item;
    kappa in [0, 1]. This takes m n verdicts, fewest at m = 1: more annotators help if items run
    out, and to measure their agreement.
    """
    _inside("half_width", half_width, "above 0 and below 0.5", 0 < half_width < 0.5)
    _inside("tie_rate", tie_rate, "at least 0 and below 1", 0 <= tie_rate < 1)
    _inside("annotators", annotators, "a whole number, at least 1", annotators in range(1, 10**6))
    _inside("kappa", kappa, "from 0 to 1", 0 <= kappa <= 1)
    variance = (1 - tie_rate) / 4 * (kappa + (1 - kappa) / annotators)
    return ceil((Z / half_width) ** 2 * variance)


def _same(totals: Floats) -> Floats:
    """Share of the diagonal of 3 x 3 tables; totals (..., 9)."""
    shares: Floats = totals[..., [0, 4, 8]].sum(axis=-1) / totals.sum(axis=-1)
    return shares


def _chance(totals: Floats) -> Floats:
    """Agreement by chance: sum over outcomes of the product of the two judges' shares."""
    table = totals.reshape(*totals.shape[:-1], 3, 3)
    both: Floats = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    chance: Floats = both / totals.sum(axis=-1) ** 2
    return chance


def _kappa(totals: Floats) -> Floats:
    chance = _chance(totals)
    kappa: Floats = (_same(totals) - chance) / (1 - chance)
    return kappa


def _length_features(apart: Floats) -> Floats:
    """A constant, and tanh(d / sd(d)) unless all differences are equal; (n, 1 or 2)."""
    constant = np.ones(len(apart))
    if len(apart) == 0 or np.ptp(apart) == 0:
        return constant[:, None]
    return np.column_stack([constant, np.tanh(apart / apart.std(ddof=1))])


def _identified(features: Floats) -> bool:
    """Whether the features differ enough to separate the length from the constant."""
    if len(features) == 0:
        return False
    size = np.linalg.svd(features, compute_uv=False)
    return bool(size[-1] > _COLLINEAR * size[0])


def _has_finite_fit(score: Floats, feature: Floats) -> bool:
    """Whether the likelihood has a maximum: neither outcome's features all lie at or beyond the
    other's; a tie counts as both. Source: Silvapulle (1981)."""
    won, lost = feature[score > 0], feature[score < 1]
    if len(won) == 0 or len(lost) == 0:
        return False
    if np.ptp(feature) == 0:
        return True
    return bool(won.min() < lost.max() and lost.min() < won.max())


def _intercept(score: Floats, features: Floats, keys: Integers) -> tuple[float, float]:
    """theta of the logistic regression and its standard error, which is NaN if it cannot be
    estimated: one cluster, no more items than coefficients, or an exact fit."""
    # these imports take a second
    import statsmodels.api as sm
    from statsmodels.stats.sandwich_covariance import cov_cluster
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # also raised by an exact fit with a finite theta, such as all ties
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fit = sm.GLM(score, features, family=sm.families.Binomial()).fit()
    exact = len(score) <= features.shape[1] or np.abs(fit.resid_response).max() < 1e-6
    if exact or len(np.unique(keys)) == 1:
        return float(fit.params[0]), float("nan")
    return float(fit.params[0]), float(np.sqrt(cov_cluster(fit, keys)[0, 0]))


def _codes(cluster: Clusters) -> Integers:
    """Clusters as integers, in order of appearance; (n,)."""
    seen: dict[object, int] = {}
    keys = cluster.tolist() if isinstance(cluster, np.ndarray) else cluster
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _scores(name: str, values: npt.ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=float)
    outside = np.flatnonzero((scores < 0) | (scores > 1))
    if len(outside):
        row = outside[0]
        raise BadInput(f"{name}[{row}] is {scores[row]}, and must be from 0 to 1 or NaN.")
    return scores


def _lengths(name: str, values: npt.ArrayLike) -> Floats:
    lengths = np.asarray(values, dtype=float)
    if len(odd := np.flatnonzero(~np.isfinite(lengths))):
        raise BadInput(f"{name}[{odd[0]}] is {lengths[odd[0]]}, and must be a finite number.")
    return lengths


def _share(of: npt.NDArray[np.bool_]) -> float:
    return float(of.mean()) if len(of) else float("nan")


def _inside(name: str, value: float, allowed: str, fits: bool) -> None:
    if not fits:
        raise BadInput(f"{name} is {value}, and must be {allowed}.")
