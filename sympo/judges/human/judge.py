"""People, as the records of their verdicts name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sympo.judges.human.page import CRITERIA
from sympo.protocols.judging import Judge, JudgeStopped, OnVerdict
from sympo.types import Comparison


@dataclass(frozen=True, kw_only=True)
class Human(Judge):
    """People, each of whom sees a pair in one order; the score is their mean."""

    identity: ClassVar[str] = "human"

    protocol: str = "one_order"

    def key(self) -> dict[str, Any]:
        return {**super().key(), "criteria": CRITERIA}

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        raise JudgeStopped("people are asked on a page: python -m sympo.judges.human export")
