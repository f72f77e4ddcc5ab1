"""Repeats a measurement until it is precise enough."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Until:
    """When to stop repeating a measurement.

    half_width: of the mean's 95% interval, relative to the mean.
    least: rounds, always done. seconds: a round that would end later is not begun.
    """

    half_width: float = 0.02
    least: int = 3
    seconds: float = 10.0


def repeated(
    measure: Callable[[], float], until: Until, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The measurements (seconds, or anything positive), one a round."""
    start, found = clock(), [measure()]
    while True:
        elapsed = clock() - start
        late = elapsed + elapsed / len(found) > until.seconds
        if len(found) >= until.least and (late or relative_half_width(found) <= until.half_width):
            return found
        found.append(measure())


def relative_half_width(values: Sequence[float]) -> float:
    """Half the 95% t interval of the mean, relative to the mean; infinite for one value."""
    if len(values) < 2:
        return math.inf
    t = float(stats.t.ppf(0.975, len(values) - 1))
    return t * statistics.stdev(values) / math.sqrt(len(values)) / statistics.mean(values)
