"""What `suspects.csv` of a run must hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from sympo.evaluation.flips import flip_auroc


def check_suspects(run: Path, source: set[str]) -> None:
    """Check the file of a small run, which lists every evaluated pair; source: its columns that say
    where a pair is from."""
    rows = pd.read_csv(run / "suspects.csv")
    assert set(rows) == {"id", "score", "margin", "noisy_label", "flipped"} | source
    assert rows["margin"].is_monotonic_increasing and rows["score"].between(0, 1).all()
    assert rows["id"].is_unique and set(rows["noisy_label"]) <= {-1, 1}
    last = json.loads((run / "summary.json").read_text())["last"]
    found = flip_auroc(rows["margin"].to_numpy(), rows["flipped"].to_numpy().astype(bool))
    # margins are written with six digits, which may tie
    np.testing.assert_allclose(found, last["train/flip_auroc"], atol=1e-4)
