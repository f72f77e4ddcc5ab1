"""Metrics of rewards, policies and verdicts, and the choice of the epoch."""

from typing import TYPE_CHECKING

from sympo.lazy import loader

if TYPE_CHECKING:
    from sympo.evaluation.selection import earliest_best
    from sympo.evaluation.verdicts import (
        agreement,
        items_needed,
        length_adjusted,
        paired_difference,
        position_bias,
        win_rate,
    )

_HOMES = {
    "earliest_best": ".selection",
    **dict.fromkeys(
        (
            *("agreement", "items_needed", "length_adjusted", "paired_difference"),
            *("position_bias", "win_rate"),
        ),
        ".verdicts",
    ),
}
__all__ = [
    "agreement",
    "earliest_best",
    "items_needed",
    "length_adjusted",
    "paired_difference",
    "position_bias",
    "win_rate",
]

__getattr__ = loader(__name__, _HOMES)
