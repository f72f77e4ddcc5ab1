"""The metrics of judged items."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sympo.evaluation.verdicts import length_adjusted, position_bias, win_rate
from sympo.judges.judging import Item
from sympo.judges.protocol import by_authors

Metrics = dict[str, float | None]


def judged_metrics(items: Sequence[Item]) -> Metrics:
    """Win rate, ties, position bias and length-adjusted win rate, with 95% intervals.

    win_rate counts ties as half; invalid_rate is the share of items with an unparsable reply;
    authors_win_rate scores the same verdicts by the paper's protocol, if the policy's response was
    shown second. None if there is nothing to count.
    """
    prompt = np.array([item["prompt"] for item in items])
    score = _floats(item["score"] for item in items)
    length, other = (_floats(item[key] for item in items) for key in ("length", "other_length"))
    found = {**win_rate(score, prompt, 0), **length_adjusted(score, length, other, prompt)}
    shown = [(item["prompt"], verdict["choice"]) for item in items for verdict in item["verdicts"]]
    if shown:
        prompts, choices = zip(*shown, strict=True)
        found |= position_bias(_floats(choices), np.array(prompts), 0)
    found["invalid_rate"] = float(np.mean([_invalid(item) for item in items]))
    fixed = [by_authors(item["verdicts"]) for item in items]
    if None not in fixed and shown:
        theirs = win_rate(_floats(fixed), prompt, 0)
        wanted = ("win_rate", "win_rate_low", "win_rate_high")
        found |= {f"authors_{name}": theirs[name] for name in wanted}
    return {name: None if np.isnan(value) else float(value) for name, value in found.items()}


def _invalid(item: Item) -> bool:
    return any(verdict["choice"] is None for verdict in item["verdicts"])


def _floats(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
