"""Judging the labelled pairs of a data set: does a judge choose what people chose?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sympo.evaluation.label_agreement import JudgedLabels
from sympo.judges.judged_runs import Verdicts
from sympo.judges.judging import Judged, Line, judge_answers, questions
from sympo.protocols.judging import Judge, JudgeStopped, LabelledPair
from sympo.types import BadArgument, BadInput

_AGAINST = "rejected"


def bound_to_labels(judge: Judge) -> Judge:
    """A judge of labelled pairs: the chosen response takes the place of a policy's, the rejected
    one that of its opponent. Raises BadArgument if the protocol shows one order only, in which the
    chosen response would always come second."""
    if set(judge.rule.policy_first) != {True, False}:
        raise BadArgument(
            "protocol",
            judge.protocol,
            "shows the chosen response in one place only, which a judge's preference for it would "
            "pass for agreement: use both_orders",
        )
    return replace(judge, against=_AGAINST)


def judge_labels(
    pairs: Sequence[LabelledPair],
    judge: Judge,
    verdicts: Verdicts,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Judged:
    """Judge labelled pairs in both orders; the score of an item is 1 if the judge agrees with the
    label, 0.5 for a tie, 0 if it disagrees. Its verdicts are kept as those on runs are.

    judge: from `bound_to_labels`. Raises BadInput without pairs, and JudgeStopped if the judge
    could not answer everything, or all its replies are unparsable.
    """
    if not pairs:
        raise BadInput("there are no labelled pairs to judge")
    lines = [_line(pair) for pair in pairs]
    cache = verdicts.of(judge)
    try:
        if verdicts.since:
            cache.forget(questions(judge, lines, cache), verdicts.since)
        judged = judge_answers(judge, lines, cache, on_progress)
    finally:
        cache.close()
    if all(item["score"] is None for item in judged.items):
        raise JudgeStopped(f"no verdict could be parsed; the judge replied: {judged.words[:200]!r}")
    for item, pair in zip(judged.items, pairs, strict=True):
        item["subset"] = pair.subset
    return judged


def labels_estimate(pairs: Sequence[LabelledPair], judge: Judge, verdicts: Verdicts) -> str:
    """What is left to ask, and its cost; empty for judges that cost nothing."""
    if not judge.estimate([]):
        return ""
    cache = verdicts.of(judge)
    try:
        left = questions(judge, [_line(pair) for pair in pairs], cache)
        known = {} if verdicts.since else cache.find(left)
    finally:
        cache.close()
    return judge.estimate([one for key, one in left.items() if key not in known])


def judged_labels(items: Sequence[dict[str, Any]]) -> JudgedLabels:
    """The items of `judge_labels` as arrays."""
    shown = [(n, v["choice"]) for n, item in enumerate(items) for v in item["verdicts"]]
    return JudgedLabels(
        score=_floats(item["score"] for item in items),
        apart=_floats(item["length"] - item["other_length"] for item in items),
        prompt=np.array([item["prompt"] for item in items], dtype=np.str_),
        subset=np.array([item["subset"] for item in items], dtype=np.str_),
        choice=_floats(choice for _, choice in shown),
        shown=np.array([number for number, _ in shown], dtype=np.int64),
    )


def _line(pair: LabelledPair) -> Line:
    return {
        "id": pair.id,
        "prompt": list(pair.prompt),
        "policy": pair.chosen,
        _AGAINST: pair.rejected,
        "criterion": pair.criterion,
    }


def _floats(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
