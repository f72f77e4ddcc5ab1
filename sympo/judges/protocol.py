"""The orders in which a pair of responses is shown, and the score of the verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST, TIE, SECOND = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Protocol:
    """policy_first: whether the policy's response comes first, for each time that a pair is shown.
    score: from the judge's preference each time (1 the policy's response, 0 the other, 0.5 neither,
    None unparsable) to 1 for a win, 0 for a loss, 0.5 for a tie, None for invalid."""

    policy_first: tuple[bool, ...]
    score: Callable[[Sequence[float | None]], float | None]


def _agreed(preferred: Sequence[float | None]) -> float | None:
    if any(choice is None for choice in preferred):
        return None
    return preferred[0] if len(set(preferred)) == 1 else TIE


def _forced(preferred: Sequence[float | None]) -> float | None:
    return 1.0 if preferred[0] == 1 else 0.0


PROTOCOLS = {
    # a win if the policy's response is preferred in both orders, a tie if the verdicts disagree
    "both_orders": Protocol((True, False), _agreed),
    # the paper's code: the policy's response is always second, and everything that does not prefer
    # it is a loss, ties and unparsable replies included
    "authors": Protocol((False,), _forced),
}


def by_authors(verdicts: Sequence[Mapping[str, Any]]) -> float | None:
    """The score of the verdicts on a pair by the paper's protocol; equal responses (no verdict) are
    a tie and thus a loss. None if the policy's response was never shown second.

    verdicts: `{"policy_first", "choice"}`, with `by` if a person gave it, who sees one order.
    """
    if not verdicts:
        return _forced([TIE])
    for verdict in verdicts:
        if policy_second(verdict):
            choice = verdict["choice"]
            return _forced([None if choice is None else FIRST + SECOND - choice])
    return None


def policy_second(verdict: Mapping[str, Any]) -> bool:
    """Whether a judge, not a person, saw the policy's response second."""
    return not verdict["policy_first"] and "by" not in verdict
