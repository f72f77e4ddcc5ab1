"""The true reward of an embedded language as judge."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.protocols.judging import GoldData, Judge, JudgedData, OnVerdict
from sympo.types import BadArgument, BadInput, Comparison, Verdict


@dataclass(frozen=True, kw_only=True)
class Gold(Judge):
    """Prefers the response with the higher true reward; equal rewards are a tie."""

    identity: ClassVar[str] = "gold"

    _dataset: GoldData | None = field(default=None, repr=False, compare=False)

    def of(self, dataset: JudgedData) -> Self:
        if dataset.gold_reward is None:
            raise self._refused()
        return replace(self, _dataset=cast(GoldData, dataset))

    def key(self) -> dict[str, Any]:
        return {**super().key(), "language": self._known.fingerprint()}

    @property
    def _known(self) -> GoldData:
        if self._dataset is None:
            raise self._refused()
        return self._dataset

    def _refused(self) -> BadInput:
        rule = "needs a data set whose true reward is known, such as gold_language"
        return BadArgument("judge", self.stable_name, rule)

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        ids, reward = self._known.ids, self._known.gold_reward
        assert reward is not None
        prompts = [ids(comparison.dialogue[0]["content"]) for comparison in comparisons]
        first, second = (
            reward(prompts, [ids(response) for response in responses])
            for responses in (
                [comparison.first for comparison in comparisons],
                [comparison.second for comparison in comparisons],
            )
        )
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            choice = TIE if one == other else FIRST if one > other else SECOND
            on_verdict(number, Verdict(choice, f"{one:.6g} against {other:.6g}"))
