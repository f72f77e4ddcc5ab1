"""The judge that knows the truth: the true reward of an embedded language."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.protocols.judging import Judge, OnVerdict
from sympo.types import BadInput, Comparison, Verdict


@dataclass(frozen=True, kw_only=True)
class Gold(Judge):
    """Prefers the answer with the higher true reward; two equal ones are a tie."""

    _dataset: Any = field(default=None, repr=False, compare=False)

    def of(self, dataset: Any) -> "Gold":
        if dataset.gold_reward is None:
            raise BadInput(
                "judge=gold needs a data set whose true reward is known, which "
                "dataset=gold_language is"
            )
        return replace(self, _dataset=dataset)

    def key(self) -> dict[str, Any]:
        return {**super().key(), "language": self._dataset.fingerprint()}

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        ids = self._dataset.ids
        prompts = [ids(comparison.dialogue[0]["content"]) for comparison in comparisons]
        first, second = (
            self._dataset.gold_reward(prompts, [ids(answer) for answer in answers])
            for answers in (
                [comparison.first for comparison in comparisons],
                [comparison.second for comparison in comparisons],
            )
        )
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            choice = TIE if one == other else FIRST if one > other else SECOND
            on_verdict(number, Verdict(choice, f"{one:.6g} against {other:.6g}"))
