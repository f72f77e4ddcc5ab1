"""One preference as texts: a prompt of messages and two responses to it."""

import hashlib
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
    subset: of the data set, that the row is from; empty if it has none. annotator: who labelled
        it; empty if unknown.
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
    annotator: str = ""
    probability: float | None = None


def score_gaps(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) the gaps between the scores; None unless every pair has one."""
    gaps = [pair.gap for pair in pairs]
    return None if None in gaps else np.array(gaps, dtype=np.float64)


def disputes(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) whether a second annotator disagreed; None unless every pair has one."""
    found = [pair.disputed for pair in pairs]
    return None if None in found else np.array(found, dtype=bool)


def length_gaps(pairs: Sequence[TextPair]) -> np.ndarray:
    """(n,) characters of the chosen response minus those of the rejected one."""
    return np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=np.int64)


def probabilities(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) the probabilities of the labels; None unless every pair has one."""
    found = [pair.probability for pair in pairs]
    return None if None in found else np.array(found, dtype=np.float64)


def sources(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) a key of each pair's subset; None unless every pair has one."""
    return _keys([pair.subset for pair in pairs])


def annotators(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) a key of each pair's annotator; None unless every pair has one."""
    return _keys([pair.annotator for pair in pairs])


def _keys(names: Sequence[str]) -> np.ndarray | None:
    """(n,) uint64, a 64-bit hash of each name, the key of its draws."""
    known = {
        name: int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        for name in set(names)
    }
    return None if "" in known else np.array([known[name] for name in names], dtype=np.uint64)
