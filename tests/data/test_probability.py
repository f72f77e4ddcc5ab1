"""The column `probability` of a preference data set: soft labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sympo.data.in_memory import TextPairs
from sympo.data.preferences import PreferenceSet
from sympo.types import BadInput
from tests.data.made_tokenizers import tokenizer


def row(number: int, probability: object) -> dict[str, Any]:
    return {"prompt": f"{number}?", "chosen": f"yes {number}", "rejected": "no", "p": probability}


def test_probabilities_stay_with_their_pairs() -> None:
    values = [1, 0.75, "0.9", 0.2, 0, 0.5, None, ""]
    data = TextPairs([row(i, value) for i, value in enumerate(values)], probability="p")
    rows = data.usable("train")
    found = {pair.prompt[0]["content"]: pair for pair in rows.pairs}
    assert {name: pair.probability for name, pair in found.items()} == {
        "0?": 1, "1?": 0.75, "2?": 0.9, "3?": 0.8, "4?": 1
    }  # fmt: skip
    # a label that is probably wrong is the other label
    assert (found["3?"].chosen, found["3?"].rejected) == ("no", "yes 3")
    assert (found["1?"].chosen, found["1?"].rejected) == ("yes 1", "no")
    assert rows.dropped == {
        "dropped for a probability of one half": 1, "dropped for a missing probability": 2
    }  # fmt: skip
    assert rows.changed["rows with a probability below one half; their answers were swapped"] == 2


def test_probabilities_reach_the_trainer() -> None:
    values = np.linspace(0.55, 1, 60)
    rows = [row(i, value) for i, value in enumerate(values)]
    data = TextPairs(rows, probability="p", validation_pairs=5)
    made = data.preferences(0, tokenizer("chatml"), None).train
    expected = {f"{i}?": value for i, value in enumerate(values)}
    assert made.pairs.probability is not None and len(made) > 30
    for text, value in zip(made.texts, made.pairs.probability, strict=True):
        assert value == expected[text["prompt"][0]["content"]]
    some = made.take(np.array([3, 1])).pairs.probability
    assert some is not None and some.tolist() == made.pairs.probability[[3, 1]].tolist()
    hard = TextPairs(rows, validation_pairs=5)
    assert hard.preferences(0, tokenizer("chatml"), None).train.pairs.probability is None
    assert hard.fingerprint() != data.fingerprint()


@pytest.mark.parametrize("value", [1.2, -0.1, "half", True, [0.7]])
def test_a_bad_probability_names_its_row(tmp_path: Path, value: object) -> None:
    file = tmp_path / "a.jsonl"
    lines = [json.dumps(row(i, 0.8 if i < 2 else value)) for i in range(3)]
    file.write_text("\n".join(lines) + "\n")
    data = PreferenceSet(path=str(file), probability="p")
    with pytest.raises(BadInput, match=rf"^{file} (row|line) 3: p="):
        data.usable("train")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(row(0, 0.8)) + "\n")
    with pytest.raises(BadInput, match="q"):
        PreferenceSet(path=str(file), probability="q").usable("train")
