"""The content of a judged file, checked: every field has its type and lies in its range.

A file ends with a digest of the rest; files older than digests have none.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from sympo.disk import seal_is_broken
from sympo.evaluation.former_judges import modern

# its name in older files
_RENAMED = ("length_controlled_win_rate", "length_adjusted_win_rate")


def read(raw: bytes) -> dict[str, Any]:
    """The content of a judged file, its `config` in today's form.

    Raises ValueError, with the reason in a few words, if it is damaged or holds impossible values.
    """
    if seal_is_broken(raw):
        raise ValueError("its digest is that of other content")
    try:
        content = json.loads(raw.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is broken JSON ({type(error).__name__})") from error
    _check(isinstance(content, dict), "it is not an object", "")
    _check(isinstance(content.get("judge"), str), "judge", content.get("judge"))
    for key in ("config", "samples"):
        _check(isinstance(content.get(key), dict), key, content.get(key))
    samples = {which: _samples(which, one) for which, one in content["samples"].items()}
    return {**content, "config": modern(content["config"]), "samples": samples}


def _samples(which: str, there: Any) -> dict[str, Any]:
    _check(isinstance(there, dict), which, there)
    metrics, items = there.get("metrics"), there.get("items")
    _check(isinstance(there.get("digest"), str), f"{which}.digest", there.get("digest"))
    for key in ("judged", "prompt_tokens", "completion_tokens"):
        _check(_within(there.get(key, 0), 0, math.inf), f"{which}.{key}", there.get(key))
    _check(isinstance(metrics, dict) and "invalid_rate" in metrics, f"{which}.metrics", metrics)
    for name, value in metrics.items():
        end = name.endswith(("_se", "_low", "_high")) or name == "n"
        low, high = (-math.inf, math.inf) if end else (0, 1)
        _check(value is None or _within(value, low, high), f"{which}.{name}", value)
    _check(isinstance(items, list), f"{which}.items", items)
    for number, item in enumerate(items):
        place = f"{which}.items[{number}]"
        _check(isinstance(item, dict), place, item)
        _item(place, item)
    metrics = {name.replace(*_RENAMED): value for name, value in metrics.items()}
    return {**there, "metrics": metrics}


def _item(place: str, item: Mapping[str, Any]) -> None:
    score, verdicts = item.get("score", ""), item.get("verdicts")
    _check("id" in item and isinstance(item.get("prompt"), str), place, item)
    _check(score is None or _within(score, 0, 1), f"{place}.score", score)
    for key in ("length", "other_length"):
        _check(_within(item.get(key), 0, math.inf), f"{place}.{key}", item.get(key))
    _check(isinstance(verdicts, list), f"{place}.verdicts", verdicts)
    for verdict in verdicts or []:
        known = isinstance(verdict, dict) and isinstance(verdict.get("policy_first"), bool)
        _check(
            known and verdict.get("choice", "") in (None, 0, 0.5, 1), f"{place}.verdicts", verdict
        )


def _within(value: Any, low: float, high: float) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and low <= value <= high and abs(value) <= sys.float_info.max


def _check(fits: bool, what: str, value: Any) -> None:
    if not fits:
        raise ValueError(f"{what} cannot be {str(value)[:60]!r}" if value != "" else what)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")
