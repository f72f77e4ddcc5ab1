"""A judge that says what a function tells it to, and samples for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sympo.protocols.judging import Judge, JudgeStopped, OnVerdict
from sympo.types import Comparison, Verdict


@dataclass(frozen=True, kw_only=True)
class Scripted(Judge):
    """says: the choice on a comparison; stop_after: how many it answers before it stops."""

    outside_identity = Judge.outside_identity | {"says", "stop_after", "asked"}

    says: Callable[[Comparison], float | None]
    stop_after: int | None = None
    name: str = "scripted"
    asked: list[Comparison] = field(default_factory=list)

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        for number, comparison in enumerate(comparisons):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise JudgeStopped(f"{len(comparisons) - number} got no answer; run again")
            self.asked.append(comparison)
            on_verdict(number, Verdict(self.says(comparison), "said so", 10, 1))


def longer(comparison: Comparison) -> float:
    """Prefers the longer answer."""
    first, second = len(comparison.first), len(comparison.second)
    return 0.5 if first == second else float(first > second)


def line(number: int, policy: str, chosen: str, **more: Any) -> dict[str, Any]:
    """A line of `samples/*.jsonl`."""
    answers = {"policy": policy, "chosen": chosen, "rejected": "no", "reference": "perhaps"}
    return {"id": number, "prompt": f"question {number}", **answers, **more}
