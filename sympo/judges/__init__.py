"""Judges of responses, the verdicts that they gave, and what these leave in run folders."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.judges.gold import Gold
    from sympo.judges.judged_runs import JudgedRun, Verdicts, judge_lines, judge_run
    from sympo.judges.openai import OpenAIJudge
    from sympo.judges.protocol import FIRST, SECOND, TIE
    from sympo.judges.reward_model import RewardModelJudge
    from sympo.protocols.judging import Judge, JudgeStopped, OnVerdict
    from sympo.types import Comparison, Verdict

_HOMES = {
    "Gold": "sympo.judges.gold",
    "OpenAIJudge": "sympo.judges.openai",
    "RewardModelJudge": "sympo.judges.reward_model",
    **dict.fromkeys(
        ("JudgedRun", "Verdicts", "judge_lines", "judge_run"), "sympo.judges.judged_runs"
    ),
    **dict.fromkeys(("Judge", "JudgeStopped", "OnVerdict"), "sympo.protocols.judging"),
    **dict.fromkeys(("FIRST", "SECOND", "TIE"), "sympo.judges.protocol"),
    **dict.fromkeys(("Comparison", "Verdict"), "sympo.types"),
}
__all__ = [
    "FIRST",
    "SECOND",
    "TIE",
    "Comparison",
    "Gold",
    "Judge",
    "JudgeStopped",
    "JudgedRun",
    "OnVerdict",
    "OpenAIJudge",
    "RewardModelJudge",
    "Verdict",
    "Verdicts",
    "judge_lines",
    "judge_run",
]

__getattr__ = loader(__name__, _HOMES)
