import csv
from pathlib import Path

import numpy as np
import pytest

from sympo.pipelines.suspects import MOST, write_suspects
from sympo.types import NoisyPairs, chosen_over_rejected


def test_suspects_come_first_and_say_where_they_are_from(tmp_path: Path) -> None:
    pairs = chosen_over_rejected(np.array([7, 8, 2**64 - 1], np.uint64))
    noisy = NoisyPairs(pairs, np.array([False, True, False]))
    write_suspects(tmp_path, noisy, np.array([2.0, 1.5, -0.25]), {"row": ["a 1", "a 2", "b 1"]})
    rows = list(csv.DictReader((tmp_path / "suspects.csv").open()))
    # the flipped pair is preferred as released, so it contradicts its noisy label
    assert [row["id"] for row in rows] == ["8", str(2**64 - 1), "7"]
    assert [row["row"] for row in rows] == ["a 2", "b 1", "a 1"]
    assert [float(row["margin"]) for row in rows] == [-1.5, -0.25, 2.0]
    assert float(rows[0]["score"]) == pytest.approx(1 / (1 + np.exp(-1.5)), abs=1e-6)
    assert [row["noisy_label"] for row in rows] == ["-1", "1", "1"]
    assert [row["flipped"] for row in rows] == ["1", "0", "0"]


def test_only_the_most_suspicious_are_kept(tmp_path: Path) -> None:
    n = MOST + 500
    noisy = NoisyPairs(chosen_over_rejected(np.arange(n, dtype=np.uint64)), np.zeros(n, bool))
    write_suspects(tmp_path, noisy, np.arange(n)[::-1] * 1.0, {})
    rows = list(csv.DictReader((tmp_path / "suspects.csv").open()))
    assert len(rows) == MOST and rows[0]["id"] == str(n - 1)
