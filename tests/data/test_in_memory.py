"""Pairs of texts in memory are read as the rows of a file are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sympo.data import PreferenceSet, TextPairs
from sympo.types import BadInput
from tests.data.made_tokenizers import tokenizer

ROWS = [{"prompt": f"prompt {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(60)]
ASKED = {"role": "user", "content": "Hi"}


def messages(row: dict[str, str]) -> dict[str, Any]:
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {key: [{"role": roles[key], "content": text}] for key, text in row.items()}


def test_the_same_splits_as_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    stored = PreferenceSet(path=str(file), validation_pairs=5)
    for data in (
        TextPairs(ROWS, validation_pairs=5),
        TextPairs([messages(row) for row in ROWS], validation_pairs=5),
        TextPairs(ROWS[::-1], validation_pairs=5),
    ):
        data.check()
        assert data.fingerprint() == stored.fingerprint()
        for split, rows in stored.splits.items():
            assert np.array_equal(rows.ids, data.splits[split].ids)
    made = data.preferences(0, tokenizer("plain"), None)
    assert len(made.train) + len(made.validation) + len(made.test) == 60


def test_an_own_test_split_and_columns() -> None:
    rows = [{"q": "Hi", "a": f"yes {i}", "b": "no", "x": 2, "y": 1} for i in range(3)]
    names = {"prompt": "q", "chosen": "a", "rejected": "b"}
    scores = {"score_chosen": "x", "score_rejected": "y"}
    train = [{**row, "q": f"Hi {i}"} for i, row in enumerate(rows)]
    data = TextPairs(train, test=rows, validation_pairs=1, **names, **scores)
    data.check()
    assert [len(rows) for rows in data.splits.values()] == [2, 1, 3]
    assert data.scored and data.splits["test"].preferences.score_gap is not None
    assert hash(data) == hash(TextPairs([], validation_pairs=1, **names, **scores))
    assert data != TextPairs([], validation_pairs=1, **names, **scores)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "^none of the 0 train rows is usable: there are none$"),
        (["Hi"], r"^TextPairs\.rows\('train'\) yielded 'Hi' as row 1; each row must be a dict"),
        ([{"prompt": "Hi"}], "^TextPairs train row 1: chosen is missing; the row has prompt$"),
        ([{**ROWS[0], "chosen": 3}], "^TextPairs train row 1: chosen=3 must be of type str"),
        (None, r"^TextPairs\.rows\('train'\) returned None; it must yield the rows"),
        (
            ROWS,
            r"^validation_pairs=512 exceeds the \d+ usable training rows \(60 read, 7 taken for",
        ),
    ],
)
def test_bad_rows(rows: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        TextPairs(rows).check()
    assert "\n" not in str(error.value)
