"""How earlier versions wrote the settings of judges: Python paths, and every setting in full.

Verdicts and judged files of that time are still valid, so this table describes the past and never
follows the code.
"""

from collections.abc import Mapping
from typing import Any

# Python path -> today's name, and the settings that go without saying
_FORMER: dict[str, tuple[str, dict[str, Any]]] = {
    "sympo.judges.gold.Gold": ("gold", {}),
    "sympo.judges.openai.OpenAIJudge": (
        "openai",
        {"temperature": 0.0, "max_tokens": 256, "seed": 0},
    ),
    "sympo.judges.reward_model.RewardModelJudge": (
        "reward_model",
        {"max_length": None, "precision": "float32"},
    ),
    "sympo.judges.human.judge.Human": ("human", {}),
}


def modern(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a judge in today's form, whichever version wrote them."""
    name, usual = _FORMER.get(str(settings.get("judge")), (settings.get("judge"), {}))
    kept = {k: v for k, v in settings.items() if k not in usual or v != usual[k]}
    return kept if name is None else {**kept, "judge": name}
