"""Pairs of two judges: test rows are confident, prompts stay together, disputes reach the noise."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sympo.data import TwoJudges
from sympo.noise import SecondJudge, flip
from sympo.types import BadInput


def written(folder: Path, **changes: Any) -> str:
    rows = [
        {
            "prompt": f"question {n // 2}", "chosen": f"good {n}", "rejected": f"bad {n}",
            "probability": 0.5 + n % 50 / 98, "second_judge_agrees": n % 4 != 0, **changes,
        }
        for n in range(200)
    ]  # fmt: skip
    with gzip.open(folder / "two_judges.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(folder)


def test_verdicts_become_labels_and_disputes(tmp_path: Path) -> None:
    data = TwoJudges(path=written(tmp_path), validation_pairs=20)
    data.check()
    for split in data.splits.values():
        numbers = np.array([int(pair.chosen.split()[1]) for pair in split.pairs])
        pairs = split.preferences
        assert pairs.disputed is not None and pairs.score_gap is not None
        assert (pairs.disputed == (numbers % 4 == 0)).all()
        assert pairs.score_gap == pytest.approx(numbers % 50 / 98)
    assert min(split.gap or 0 for split in data.splits["test"].pairs) >= 0.4
    prompts = [set(split.prompts.tolist()) for split in data.splits.values()]
    assert not prompts[0] & prompts[2] and not prompts[0] & prompts[1]
    train = data.splits["train"].preferences
    assert train.disputed is not None
    share = float(train.disputed.mean())
    assert (flip(SecondJudge(), share, train, 0).flipped == train.disputed).all()


def test_disputes_are_part_of_the_content(tmp_path: Path) -> None:
    found = {
        TwoJudges(path=written(tmp_path, **changes)).fingerprint()
        for changes in ({}, {"second_judge_agrees": True}, {"probability": 0.9})
    }
    assert len(found) == 3


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="row 1: second_judge_agrees='yes' must be of type bool"):
        TwoJudges(path=written(tmp_path, second_judge_agrees="yes")).check()
