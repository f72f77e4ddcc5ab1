"""`suspects.csv` of a run folder: the training pairs whose labels the trained model doubts most."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sympo.disk import write_atomically
from sympo.numeric import sigmoid
from sympo.types import NoisyPairs

FILE = "suspects.csv"
MOST = 1000


def write_suspects(
    folder: Path, pairs: NoisyPairs, gap: np.ndarray, source: Mapping[str, Sequence[object]]
) -> None:
    """Write the pairs with the smallest margins, at most 1,000, the most suspicious first.

    Columns: id, the pair's; those of `source`; margin, m = y~ (r(first) - r(second)) with the noisy
    label y~; score, sigmoid(-m), the probability that the label is wrong if margins are log-odds;
    noisy_label, y~; flipped, 1 if the noise model flipped the label.

    gap: (n,), r(first) - r(second). source: where each pair comes from, n values a column.
    """
    labels = np.sign(pairs.noisy_label).astype(int)
    margin = gap * labels
    order = np.argsort(margin, kind="stable")[:MOST]
    columns: dict[str, Sequence[object]] = {
        "id": pairs.pairs.ids[order].tolist(),
        **{name: [values[i] for i in order] for name, values in source.items()},
        "score": [f"{one:.6g}" for one in sigmoid(-margin[order])],
        "margin": [f"{one:.6g}" for one in margin[order]],
        "noisy_label": labels[order].tolist(),
        "flipped": pairs.flipped[order].astype(int).tolist(),
    }
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    write_atomically(folder / FILE, text.getvalue())
