"""The epoch that a practitioner, who has noisy labels only, would keep."""

from collections.abc import Mapping, Sequence
from typing import Any


def earliest_best(evaluations: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    """The evaluation with the highest `metric`, the earliest on ties."""
    return max(evaluations, key=lambda evaluation: evaluation[metric])  # max keeps the first


def reported(evaluations: Sequence[Mapping[str, Any]], metric: str) -> tuple[int, int]:
    """The indices of the two reported evaluations: the last one and `earliest_best`."""
    best = earliest_best(evaluations, metric)
    return len(evaluations) - 1, next(i for i, one in enumerate(evaluations) if one is best)
