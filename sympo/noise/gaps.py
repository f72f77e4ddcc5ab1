"""How close pairs are, for the noise models that depend on it."""

import numpy as np

from sympo.types import BadInput, PreferencePairs


def known_gap(pairs: PreferencePairs, needed_by: str) -> np.ndarray:
    """|gap| of the true rewards or, if they are unknown, of the scores; (n,).

    needed_by: the setting, for BadInput if the pairs have neither.
    """
    gap = pairs.score_gap if pairs.gap is None else pairs.gap
    if gap is None:
        raise BadInput(
            f"{needed_by} needs the true reward or a score of both items, "
            "which this data set does not have; use symmetric or asymmetric, or "
            "dataset=preferences with dataset.score_chosen and dataset.score_rejected"
        )
    distance: np.ndarray = np.abs(gap)
    return distance


def closeness(pairs: PreferencePairs, needed_by: str) -> np.ndarray:
    """The share of pairs with a wider gap, ties counted one half: near 1 for the closest pair, near
    0 for the widest, 1/2 on average; (n,). BadInput without gaps."""
    gap = known_gap(pairs, needed_by)
    ordered = np.sort(gap)
    wider = len(gap) - np.searchsorted(ordered, gap, side="right")
    as_wide = len(gap) - np.searchsorted(ordered, gap, side="left")
    share: np.ndarray = (wider + as_wide) / (2 * max(1, len(gap)))
    return share
