"""Which epoch a practitioner, who has noisy labels only, would keep."""

from collections.abc import Mapping, Sequence
from typing import Any


def earliest_best(evaluations: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    """The evaluation with the highest `metric`, the earliest one on ties."""
    return max(evaluations, key=lambda evaluation: evaluation[metric])  # max keeps the first
