"""Parts of the training rows, by conversation: for policies, for a judge, and to validate it.

A judge that has seen a policy's training pairs would score what the policy memorised. Each
conversation belongs to one part, by a draw keyed by its opening alone, so that rows which are added
to a data set move no other row.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from sympo import seeding
from sympo.data.row_account import letters
from sympo.data.text_pair import TextPair
from sympo.data.text_rows import TextRows, content_hash

Part = Literal["all", "policies", "judge", "judge_validation"]
# of the conversations
SHARES = {"policies": 0.6, "judge": 0.3, "judge_validation": 0.1}
# the parts that are validated on another part; the others hold out some of their own rows
VALIDATED_ON: Mapping[str, str] = {"judge": "judge_validation"}
_TESTED = "test"


def conversations(pairs: Sequence[TextPair]) -> np.ndarray:
    """A key for the conversation of each pair; (n,) uint64.

    A conversation is known by its messages up to the first of the user, compared without case,
    punctuation and white space: data sets hold several pairs from one dialogue, each with another
    number of turns.
    """
    return np.array([content_hash(_opening(pair)) for pair in pairs], dtype=np.uint64)


def of_part(rows: TextRows, test: TextRows, part: str) -> TextRows:
    """The rows of one part (`all`: every row); the others count as dropped, by their part.

    Rows of a conversation that is also in the test split are in no part.
    """
    if part == "all":
        return rows
    keys = conversations(rows.pairs)
    edges = np.cumsum([*SHARES.values()])[:-1]
    numbers = np.searchsorted(edges, seeding.uniform(0, "parts", keys), side="right")
    tested = np.isin(keys, conversations(test.pairs))
    found = np.where(tested, _TESTED, np.array([*SHARES])[numbers])
    reasons = {_TESTED: "dropped for a conversation of the test split"}
    reasons |= {other: f"of dataset.part={other}" for other in SHARES if other != part}
    left = Counter({reason: int((found == name).sum()) for name, reason in reasons.items()})
    return replace(rows.take(np.flatnonzero(found == part)), dropped=rows.dropped + left)


def _opening(pair: TextPair) -> str:
    roles = [message["role"] for message in pair.prompt]
    opening = pair.prompt[: roles.index("user") + 1] if "user" in roles else pair.prompt
    return letters(opening) or "".join(message["content"] for message in opening)
