"""What verdicts say, in numbers with intervals; prompts are the sample.

A score is 1 for a win, 0.5 for a tie, 0 for a loss, or a mean of those where several annotators
judged; NaN is an invalid verdict, which is counted and never scored. Items of one prompt share a
cluster, any hashable key, and are drawn together.

Intervals are 95%: the bias-corrected and accelerated bootstrap over prompts (BCa; Efron 1987),
since percentiles miss on one side where a rate is near its end. At a kappa of 0.88 between two
judges percentiles cover the truth in 88% of experiments with 50 prompts and 93% with 200, BCa in
95%. The same verdicts in another order give the same interval.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sympo import seeding
from sympo.numeric import sigmoid
from sympo.types import BadInput

DRAWS = 10_000
_NORMAL = NormalDist()
_TAIL = 0.025
_Z = _NORMAL.inv_cdf(1 - _TAIL)
_CHUNK = 65_536  # numbers held at once while resampling: they stay in the processor's cache

Clusters = np.ndarray | Sequence[Hashable]
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A number, its bootstrap standard error, and its 95% interval."""

    value: float
    se: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """`<name>`, `<name>_se`, `<name>_low`, `<name>_high`."""
        ends = {f"{name}_{end}": getattr(self, end) for end in ("se", "low", "high")}
        return {name: self.value, **ends}


def win_rate(
    score: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often the policy's answer wins, ties half, over the valid items.

    score, cluster: (n,). Returns win_rate, win_rate_se, win_rate_low, win_rate_high; tie_rate, the
    share of 0.5 among the valid items; invalid_rate, over all items; n, the number of valid items.
    NaN where nothing is valid.
    """
    score = _scores("score", score)
    valid = np.isfinite(score)
    shown, keys = score[valid], _codes(cluster)[valid]
    win = _mean(shown, keys, seeding.generator(seed, "bootstrap", "win_rate"), draws, (0, 1))
    return {
        **win.named("win_rate"),
        "tie_rate": _share(shown == 0.5),
        "invalid_rate": _share(~valid),
        "n": len(shown),
    }


def position_bias(
    choice: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often a judge prefers the answer that it is shown first, ties half: 1/2 is unbiased if
    every item is shown in both orders.

    choice: (m,), one per question asked: 1 the first answer won, 0.5 a tie, 0 the second won, NaN
    invalid. cluster: (m,). Returns first_shown_wins and its _se, _low, _high.
    """
    choice = _scores("choice", choice)
    valid = np.isfinite(choice)
    draw = seeding.generator(seed, "bootstrap", "position_bias")
    first = _mean(choice[valid], _codes(cluster)[valid], draw, draws, (0, 1))
    return first.named("first_shown_wins")


def paired_difference(
    score_a: npt.ArrayLike,
    score_b: npt.ArrayLike,
    cluster: Clusters,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, float]:
    """Mean of score_a - score_b, two policies against the same opponent on the same items.

    Pairing removes what a prompt does to both. score_a, score_b, cluster: (n,). Returns difference
    and its _se, _low, _high, over the n items that are valid for both.
    """
    difference = _scores("score_a", score_a) - _scores("score_b", score_b)
    valid = np.isfinite(difference)
    draw = seeding.generator(seed, "bootstrap", "paired_difference")
    paired = _mean(difference[valid], _codes(cluster)[valid], draw, draws, (-1, 1))
    return {**paired.named("difference"), "n": int(valid.sum())}


def agreement(
    a: npt.ArrayLike, b: npt.ArrayLike, cluster: Clusters, seed: int, draws: int = DRAWS
) -> dict[str, float]:
    """How often two judges say the same of win, tie and loss, raw and beyond chance.

    Cohen's kappa = (p_o - p_e) / (1 - p_e), p_o the raw agreement and p_e what the two judges'
    shares of win, tie and loss would give by chance.

    a, b, cluster: (n,); a mean over annotators is a win above 0.5 and a loss below. Returns
    agreement and kappa, each with _se, _low, _high, over the n items that are valid for both.
    kappa is NaN where both say one and the same throughout; bootstrap samples of that kind are left
    out of its interval. Source: Cohen (1960).
    """
    a, b = _scores("a", a), _scores("b", b)
    valid = np.isfinite(a) & np.isfinite(b)
    said = [np.sign(judge[valid] - 0.5).astype(int) + 1 for judge in (a, b)]
    cells = np.eye(9)[3 * said[0] + said[1]]
    totals = _totals(cells, _codes(cluster)[valid])
    draw = seeding.generator(seed, "bootstrap", "agreement")
    raw, kappa = _estimates([(_same, (0, 1)), (_kappa, (-1, 1))], totals, draw, draws)
    low, high = kappa.low, kappa.high
    if raw.value == 1 and np.isfinite(kappa.value):
        # no sample of perfect agreement disagrees, so kappa's bound is that of the raw agreement
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
    """The win rate that a logistic regression on the length difference predicts for answers of
    equal length.

    E[score] = sigmoid(theta + phi tanh(d / sd(d))), d = length - other_length over the valid items,
    divided by its standard deviation and not centred; the win rate at d = 0 is sigmoid(theta), its
    interval sigmoid(theta +- 1.96 se) with se robust to clusters.

    This is not AlpacaEval 2's length-controlled win rate, but what is left of its regression for
    one pair of policies at a time. The published one has a term psi gamma_x, where gamma_x, how
    difficult instruction x is, comes from one fit to the verdicts on many models, strong and weak,
    and its value is the mean over x of the prediction at d = 0; it has an L1 penalty chosen by
    cross-validation; and it adds, with a small weight, verdicts on the baseline asked for short and
    for long answers. Over 56 models of its leaderboard ours differs from the published
    value by 4.8 points at the median and 28 at most, and from AlpacaEval's own minimal regression,
    which has none of these terms, by 0.03 at the median: do not set one beside the other.

    score, length, other_length, cluster: (n,), lengths in any one unit. Returns
    length_adjusted_win_rate, _low, _high. Where all differences are equal it is the plain win
    rate. NaN where the regression has no finite answer: nothing valid, all wins or all losses, or
    lengths that tell every win from every loss; the ends are NaN also where there is one prompt, or
    where the fit is exact (all ties). Raises BadInput on a length that is no finite number.
    After Dubois, Galambosi, Liang and Hashimoto (2024), arXiv 2404.04475.
    """
    scores = _scores("score", score)
    valid = np.isfinite(scores)
    apart = _lengths("length", length) - _lengths("other_length", other_length)
    features = _length_features(apart[valid])
    theta = se = float("nan")
    if _has_finite_fit(scores[valid], features[:, -1]):
        theta, se = _intercept(scores[valid], features, _codes(cluster)[valid])
    value, low, high = sigmoid(np.array([theta, theta - _Z * se, theta + _Z * se])).tolist()
    name = "length_adjusted_win_rate"
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def items_needed(
    half_width: float, tie_rate: float, annotators: int = 1, kappa: float = 1.0
) -> int:
    """Items, one per prompt, for a win rate's 95% interval of +- half_width.

    n = (1.96 / h)^2 (1 - t) / 4 (kappa + (1 - kappa) / m). A score of 1, 1/2, 0 with a share t of
    ties has the variance p (1 - p) - t / 4, at most (1 - t) / 4, at a win rate p of 1/2. The mean
    of m annotators whose scores correlate by kappa has kappa + (1 - kappa) / m of it. (For wins and
    losses in equal shares the correlation is Cohen's kappa, 2 agreement - 1; with ties it is the
    quadratically weighted one. Source: Fleiss and Cohen 1973.)

    half_width: h in (0, 0.5); tie_rate: t in [0, 1); annotators: m, different people per item;
    kappa in [0, 1]. The verdicts to collect are m n, fewest at m = 1: more annotators are for when
    items run out, and for measuring their agreement.
    """
    _inside("half_width", half_width, "above 0 and below 0.5", 0 < half_width < 0.5)
    _inside("tie_rate", tie_rate, "at least 0 and below 1", 0 <= tie_rate < 1)
    _inside("annotators", annotators, "a whole number from 1 on", annotators in range(1, 10**6))
    _inside("kappa", kappa, "from 0 to 1", 0 <= kappa <= 1)
    variance = (1 - tie_rate) / 4 * (kappa + (1 - kappa) / annotators)
    return ceil((_Z / half_width) ** 2 * variance)


def resample(totals: np.ndarray, draw: np.random.Generator, draws: int) -> np.ndarray:
    """Totals over bootstrap samples of the clusters.

    totals: (clusters, k), what each cluster adds. Returns (draws, k), each row the sum over as many
    clusters drawn with replacement. How often each distinct row is drawn is multinomial, with its
    share of the clusters as probability; verdicts have few distinct rows, so that a draw costs
    these and not the clusters.
    """
    contents, copies = np.unique(totals, axis=0, return_counts=True)
    clusters = len(totals)
    # a multinomial count, some 90 ns, takes as long as the draws of twenty clusters
    grouped = 20 * len(contents) < clusters
    rows = np.repeat(contents, copies, axis=0)  # sorted: the clusters' order must not matter
    step = max(1, _CHUNK // (len(contents) if grouped else clusters))
    sums = np.empty((draws, totals.shape[1]))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if grouped:
            times = draw.multinomial(clusters, copies / clusters, size)
            sums[start : start + size] = times @ contents
        else:
            drawn = draw.integers(clusters, size=(size, clusters))
            drawn += clusters * np.arange(size)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * clusters)
            sums[start : start + size] = times.reshape(size, clusters) @ rows
    return sums


def _estimates(
    statistics: list[tuple[Statistic, tuple[int, int]]],
    totals: np.ndarray,
    draw: np.random.Generator,
    draws: int,
) -> list[Estimate]:
    """Each statistic, a function of totals with the span of its values, over the same draws."""
    if len(totals) == 0:
        return [Estimate(*[float("nan")] * 4) for _ in statistics]
    sums = resample(totals, draw, draws)
    return [_bca(statistic, span, totals, sums) for statistic, span in statistics]


def _bca(
    statistic: Statistic, span: tuple[int, int], totals: np.ndarray, sums: np.ndarray
) -> Estimate:
    """Estimate, standard error and BCa interval.

    With z_0 = Phi^-1(P(draw < estimate)), ties half, a a sixth of the skewness of the jackknife
    values and z = -+1.96, the ends are the draws' quantiles at
    Phi(z_0 + (z_0 + z) / (1 - a (z_0 + z))).

    Where no prompt differs from another there is nothing to draw; a share L of prompts at least is
    then like these, L^m = 0.025 for m prompts (Clopper and Pearson 1934), and the others can be
    anywhere in the span.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(totals.sum(axis=0)))
        drawn = statistic(sums)
        without = statistic(totals.sum(axis=0) - totals)
    drawn, without = drawn[np.isfinite(drawn)], without[np.isfinite(without)]
    if not np.isfinite(value):
        return Estimate(*[float("nan")] * 4)
    away = without.mean() - without if len(without) else np.zeros(1)
    if np.abs(away).max() < 1e-12:
        alike = _TAIL ** (1 / len(totals))
        low, high = (alike * value + (1 - alike) * end for end in span)
        return Estimate(value, 0.0, low, high)
    skewness = float((away**3).sum() / (6 * np.square(away).sum() ** 1.5))
    # a draw that equals the estimate but for rounding is a tie
    below = float(0.5 - 0.5 * np.sign(np.round(drawn - value, 12)).mean())
    edge = 0.5 / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    levels = [_NORMAL.cdf(bias + (bias + z) / (1 - skewness * (bias + z))) for z in (-_Z, _Z)]
    low, high = np.quantile(drawn, levels)
    return Estimate(
        value, float(drawn.std(ddof=1)), min(float(low), value), max(float(high), value)
    )


def _mean(
    values: np.ndarray,
    keys: np.ndarray,
    draw: np.random.Generator,
    draws: int,
    span: tuple[int, int],
) -> Estimate:
    """The mean over items, clusters being drawn: a ratio of two totals."""
    totals = _totals(np.column_stack([values, np.ones(len(values))]), keys)
    return _estimates([(_ratio, span)], totals, draw, draws)[0]


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _same(totals: np.ndarray) -> np.ndarray:
    """Share of the diagonal of 3 x 3 tables; totals (..., 9)."""
    return totals[..., [0, 4, 8]].sum(axis=-1) / totals.sum(axis=-1)


def _chance(totals: np.ndarray) -> np.ndarray:
    """Agreement by chance: sum over outcomes of the product of the two judges' shares."""
    table = totals.reshape(*totals.shape[:-1], 3, 3)
    return (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / totals.sum(axis=-1) ** 2


def _kappa(totals: np.ndarray) -> np.ndarray:
    chance = _chance(totals)
    return (_same(totals) - chance) / (1 - chance)


def _length_features(apart: np.ndarray) -> np.ndarray:
    """A constant, and tanh(d / sd(d)) where differences differ; (n, 1 or 2)."""
    constant = np.ones(len(apart))
    if len(apart) == 0 or np.ptp(apart) == 0:
        return constant[:, None]
    return np.column_stack([constant, np.tanh(apart / apart.std(ddof=1))])


def _has_finite_fit(score: np.ndarray, feature: np.ndarray) -> bool:
    """Whether the likelihood has a maximum: neither outcome's features all lie at or beyond the
    other's, a tie being of both. Source: Silvapulle (1981)."""
    won, lost = feature[score > 0], feature[score < 1]
    if len(won) == 0 or len(lost) == 0:
        return False
    if np.ptp(feature) == 0:
        return True
    return bool(won.min() < lost.max() and lost.min() < won.max())


def _intercept(score: np.ndarray, features: np.ndarray, keys: np.ndarray) -> tuple[float, float]:
    """theta of the logistic regression and its standard error, which is NaN where nothing is left
    to tell it from: one cluster, no more items than coefficients, or scores that fit exactly."""
    # these take a second, which no one should wait for before judging
    import statsmodels.api as sm
    from statsmodels.stats.sandwich_covariance import cov_cluster
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # raised by an exact fit too, all ties say, whose theta is finite
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fit = sm.GLM(score, features, family=sm.families.Binomial()).fit()
    exact = len(score) <= features.shape[1] or np.abs(fit.resid_response).max() < 1e-6
    if exact or len(np.unique(keys)) == 1:
        return float(fit.params[0]), float("nan")
    return float(fit.params[0]), float(np.sqrt(cov_cluster(fit, keys)[0, 0]))


def _totals(columns: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Sums of (n, k) columns over the items of each cluster; (clusters, k)."""
    _, codes = np.unique(keys, return_inverse=True)
    return np.column_stack([np.bincount(codes, column) for column in columns.T])


def _codes(cluster: Clusters) -> np.ndarray:
    """Clusters as whole numbers, in order of appearance; (n,) int64."""
    seen: dict[object, int] = {}
    keys = cluster.tolist() if isinstance(cluster, np.ndarray) else cluster
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _scores(name: str, values: npt.ArrayLike) -> np.ndarray:
    scores = np.asarray(values, dtype=float)
    outside = np.flatnonzero((scores < 0) | (scores > 1))
    if len(outside):
        row = outside[0]
        raise BadInput(f"{name}[{row}] is {scores[row]}, and must be from 0 to 1 or NaN.")
    return scores


def _lengths(name: str, values: npt.ArrayLike) -> np.ndarray:
    lengths = np.asarray(values, dtype=float)
    if len(odd := np.flatnonzero(~np.isfinite(lengths))):
        raise BadInput(f"{name}[{odd[0]}] is {lengths[odd[0]]}, and must be a finite number.")
    return lengths


def _share(of: np.ndarray) -> float:
    return float(of.mean()) if len(of) else float("nan")


def _inside(name: str, value: float, allowed: str, fits: bool) -> None:
    if not fits:
        raise BadInput(f"{name} is {value}, and must be {allowed}.")
