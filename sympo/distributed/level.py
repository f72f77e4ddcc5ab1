"""Equally many passes in all processes, which a model needs whose weights are divided."""

from collections.abc import Iterator

import numpy as np

from sympo.distributed import processes


def leveled(parts: Iterator[np.ndarray], divided: bool) -> Iterator[tuple[np.ndarray, bool]]:
    """The rows of each pass of this process, and whether the pass counts; if weights are divided,
    passes that do not count follow until all processes have taken equally many."""
    if not divided:
        for part in parts:
            yield part, True
        return
    own = list(parts)
    for number in range(max(processes.gathered(len(own)))):
        yield (own[number], True) if number < len(own) else (np.zeros(1, np.int64), False)
