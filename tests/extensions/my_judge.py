from dataclasses import dataclass

from sympo.judges import FIRST, SECOND, TIE, Judge, Verdict


@dataclass(frozen=True, kw_only=True)
class MyJudge(Judge):
    """Prefers the longer response."""

    tie_within: int = 0  # characters

    def compare(self, comparisons, on_verdict):
        for number, one in enumerate(comparisons):
            longer = len(one.first) - len(one.second)
            choice = TIE if abs(longer) <= self.tie_within else FIRST if longer > 0 else SECOND
            on_verdict(number, Verdict(choice, f"longer by {longer}"))
