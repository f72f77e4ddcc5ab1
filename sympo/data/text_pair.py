"""One preference as texts: a prompt of messages and two responses to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# `role` (system, user, assistant or tool) and `content`, a text; with tools also `tool_calls`,
# `name` and `tool_call_id`, as chat templates name them
Message = dict[str, Any]
# what people and judges see of a pair
TEXTS = ("prompt", "chosen", "rejected", "criterion")


@dataclass(frozen=True)
class TextPair:
    """Two responses to one prompt.

    prompt: messages, oldest first, such as `[{"role": "user", "content": "Hi"}]`.
    criterion: why people preferred the chosen one, `helpful` or `harmless`.
    gap: distance of the scores that came with the label; None if there are none.
    notes: what was changed in reading the row, to be counted.
    subset: of the data set, that the row is from; empty if it has none.
    disputed: whether a second annotator preferred the rejected one; None if there was none.
    probability: that the chosen one is preferred, in (0.5, 1]; None if it is not known.
    """

    prompt: list[Message]
    chosen: str
    rejected: str
    criterion: str = "helpful"
    gap: float | None = None
    notes: tuple[str, ...] = ()
    subset: str = ""
    disputed: bool | None = None
    probability: float | None = None


def score_gaps(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) the gaps between the scores; None unless every pair has one."""
    gaps = [pair.gap for pair in pairs]
    return None if None in gaps else np.array(gaps, dtype=np.float64)


def disputes(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) whether a second annotator disagreed; None unless every pair has one."""
    found = [pair.disputed for pair in pairs]
    return None if None in found else np.array(found, dtype=bool)


def probabilities(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) the probabilities of the labels; None unless every pair has one."""
    found = [pair.probability for pair in pairs]
    return None if None in found else np.array(found, dtype=np.float64)
