"""How often a judge agrees with the labels of a data set, and what such a judge can resolve.

Intervals are 95%, the BCa bootstrap over prompts of `sympo.statistics`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sympo.evaluation.verdicts import position_bias, win_rate
from sympo.statistics import Floats, Z
from sympo.types import BadInput

# of the policies that a judge is to compare: the paper's 1,024, and four times less and more
PROMPTS = (256, 1024, 4096)
POWER = 0.8
_POWER_Z = NormalDist().inv_cdf(POWER)  # 0.84
_ENDS = ("", "_low", "_high")

Strings = npt.NDArray[np.str_]


@dataclass(frozen=True)
class JudgedLabels:
    """A judge's verdicts on n labelled pairs.

    score: (n,) 1 if the judge prefers the chosen response, 0.5 for a tie, 0 for the rejected one,
        NaN invalid. apart: (n,) length of the chosen response minus that of the rejected one, in
        characters. prompt, subset: (n,) texts.
    choice: (m,) one per time that a pair was shown: 1 if the first response won, 0.5 for a tie, 0
        if the second won, NaN invalid; shown: (m,) which pair.
    """

    score: Floats
    apart: Floats
    prompt: Strings
    subset: Strings
    choice: Floats
    shown: npt.NDArray[np.int64]


def label_agreement(judged: JudgedLabels) -> list[dict[str, float | str]]:
    """Agreement with the labels over all pairs, by subset, and by terciles of the signed length
    difference: a row each.

    A row has by (all, subset or length), group, pairs, prompts; agreement, ties half, the share
    that a judge without information halves; tie_rate and invalid_rate; first_shown_wins;
    longer_chosen, how often the label prefers the longer response (equal lengths half);
    prefers_longer, how often the judge does, over pairs of different lengths; resolves_N, the least
    difference that it resolves (`resolvable`) at N prompts. Estimates have _low and _high; the ends
    of resolves_N are those of agreement, inf if it is not above one half.
    """
    return [
        {"by": by, "group": group, **_row(judged, members)}
        for by, group, members in _groups(judged)
        if members.any()
    ]


def resolvable(agreement: float, prompts: int) -> float:
    """The least true difference between two policies' win rates that a test at 5%, two-sided,
    finds with 80% power; inf if the judge agrees no more often than a coin.

    d = (1.96 + 0.84) sqrt(1 / (2 n)) / (2 a - 1). A judge that agrees with probability a, whatever
    the pair, turns a win rate p into a p + (1 - a)(1 - p), and so a difference d into (2 a - 1) d.
    Each win rate over n prompts has at most the variance 1 / (4 n), and their difference twice
    that, unless the policies win on the same prompts, which pairing can use. Against a fixed value,
    such as one half, a single policy needs 1 / sqrt(2) of it.

    agreement: a in [0, 1], ties half. prompts: n, at least 1.
    """
    if not 0 <= agreement <= 1:
        raise BadInput(f"agreement is {agreement}, and must be from 0 to 1.")
    if prompts < 1:
        raise BadInput(f"prompts is {prompts}, and must be at least 1.")
    shrunk = 2 * agreement - 1
    return (Z + _POWER_Z) * sqrt(1 / (2 * prompts)) / shrunk if shrunk > 0 else inf


def _groups(judged: JudgedLabels) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    yield "all", "all", np.ones(len(judged.score), dtype=bool)
    names = sorted(set(judged.subset.tolist()))
    for name in names if len(names) > 1 else []:
        yield "subset", name, judged.subset == name
    if np.ptp(judged.apart) == 0:
        return
    edges = np.quantile(judged.apart, [1 / 3, 2 / 3])
    tercile = np.searchsorted(edges, judged.apart, side="left")
    for number in range(len(edges) + 1):
        members = tercile == number
        if members.any():
            low, high = judged.apart[members].min(), judged.apart[members].max()
            yield "length", f"length difference {low:+.0f} to {high:+.0f}", members


def _row(judged: JudgedLabels, members: npt.NDArray[np.bool_]) -> dict[str, float | str]:
    score, prompt, apart = judged.score[members], judged.prompt[members], judged.apart[members]
    won = win_rate(score, prompt, 0)
    shown = members[judged.shown]
    first = position_bias(judged.choice[shown], judged.prompt[judged.shown[shown]], 0)
    longer = win_rate(0.5 + 0.5 * np.sign(apart), prompt, 0)
    follows = np.where(apart > 0, score, 1 - score)
    follows[apart == 0] = np.nan
    liked = win_rate(follows, prompt, 0)
    found: dict[str, float | str] = {
        "pairs": len(score),
        "prompts": len(np.unique(prompt)),
        **_named("agreement", won, "win_rate"),
        "tie_rate": won["tie_rate"],
        "invalid_rate": won["invalid_rate"],
        **_named("first_shown_wins", first, "first_shown_wins"),
        **_named("longer_chosen", longer, "win_rate"),
        **_named("prefers_longer", liked, "win_rate"),
    }
    # a higher agreement resolves a smaller difference
    for prompts in PROMPTS:
        for end, other in zip(_ENDS, ("", "_high", "_low"), strict=True):
            agreed = won[f"win_rate{other}"]
            value = resolvable(agreed, prompts) if np.isfinite(agreed) else float("nan")
            found[f"resolves_{prompts}{end}"] = value
    return found


def _named(name: str, found: dict[str, float], own: str) -> dict[str, float]:
    return {f"{name}{end}": found[f"{own}{end}"] for end in _ENDS}


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """The rows as text, in percent, and what the judge can resolve."""
    head = (
        "", "pairs", "agreement", "95% interval", "ties", "invalid", "first wins", "longer chosen",
        "judge prefers longer",
    )  # fmt: skip
    lines = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*text, "", *_resolved(rows[0])])


def _cells(row: dict[str, float | str]) -> tuple[str, ...]:
    numbers = {name: float(value) for name, value in row.items() if not isinstance(value, str)}
    return (
        str(row["group"]),
        f"{row['pairs']:,}",
        _percent(numbers["agreement"]),
        f"{_percent(numbers['agreement_low'])} to {_percent(numbers['agreement_high'])}",
        *(
            _percent(numbers[name])
            for name in (
                *("tie_rate", "invalid_rate", "first_shown_wins"),
                *("longer_chosen", "prefers_longer"),
            )
        ),
    )


def _resolved(row: dict[str, float | str]) -> Iterator[str]:
    yield "Least difference between two policies' win rates that this judge finds with 80% power:"
    for prompts in PROMPTS:
        value, low, high = (float(row[f"resolves_{prompts}{end}"]) for end in _ENDS)
        yield f"  {prompts:5,} prompts each: {_points(value)} ({_points(low)} to {_points(high)})"


def _points(value: float) -> str:
    return f"{100 * value:.1f} points" if value <= 1 else "none"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if np.isfinite(share) else "-"
