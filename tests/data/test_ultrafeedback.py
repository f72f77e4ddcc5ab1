import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sympo.data.ultrafeedback import UltraFeedback
from sympo.types import BadInput
from tests.conftest import DATA
from tests.data.made_tokenizers import tokenizer


def ultrafeedback(path: Path | None, **changes: Any) -> UltraFeedback:
    return UltraFeedback(**{"path": path and str(path), "validation_pairs": 2, **changes})


def row(number: int, **changes: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": f"prompt {number}"}
    made = {
        "prompt": f"prompt {number}",
        "chosen": [asked, {"role": "assistant", "content": "Yes"}],
        "rejected": [asked, {"role": "assistant", "content": "No"}],
        "score_chosen": 8.0,
        "score_rejected": 7.5,
    }
    return {**made, **changes}


def write(folder: Path, split: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"{split}_prefs.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train", [row(i) for i in range(8)])
    write(tmp_path, "test", [row(i) for i in range(8, 12)])
    return tmp_path


def test_equal_scores_are_dropped_and_null_scores_kept(folder: Path) -> None:
    write(folder, "train", [
        row(0), row(1, score_chosen=5, score_rejected=5.0), row(2, score_rejected=9),
        row(3, score_chosen=None, score_rejected=None), row(4, score_chosen=None),
    ])  # fmt: skip
    rows = ultrafeedback(folder).usable("train")
    assert [pair.prompt[0]["content"][-1] for pair in rows.pairs] == ["0", "2", "3", "4"]
    assert rows.dropped == {"dropped for two equal scores": 1}


def test_several_turns(folder: Path) -> None:
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    answers = [[*turns, {"role": "assistant", "content": text}] for text in ("Yes", "No")]
    write(folder, "train", [row(0, chosen=answers[0], rejected=answers[1])])
    [pair] = ultrafeedback(folder).usable("train").pairs
    assert pair.prompt == turns and (pair.chosen, pair.rejected) == ("Yes", "No")


def test_parquet_of_the_hub_is_the_same(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("hub")
    (other / "data").mkdir()
    for split, numbers in (("train", range(8)), ("test", range(8, 12))):
        rows = [row(i, score_rejected=None) for i in numbers]
        table = pd.DataFrame(rows).astype({"score_rejected": float})
        table.to_parquet(other / "data" / f"{split}_prefs-00000-of-00001.parquet")
        table.to_parquet(other / "data" / f"{split}_sft-00000-of-00001.parquet")
    assert ultrafeedback(other).fingerprint() == ultrafeedback(folder).fingerprint()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score_chosen": "8"}, "score_chosen='8' must be of type int or float or null"),
        ({"score_chosen": True}, "score_chosen=True"),
        ({"chosen": "Yes"}, "chosen='Yes' must be of type list"),
        ({"rejected": [{"role": "user"}]}, "in message 1 of rejected, content is missing"),
    ],
)
def test_broken_row_is_named(folder: Path, changes: dict[str, Any], words: str) -> None:
    path = write(folder, "train", [row(0), row(1, **changes)])
    with pytest.raises(BadInput, match=words) as error:
        ultrafeedback(folder).check()
    assert str(error.value).startswith(f"{path} row 2: ")


def test_missing_key_and_file(folder: Path) -> None:
    bad = row(0)
    del bad["score_rejected"]
    write(folder, "train", [bad])
    with pytest.raises(BadInput, match="row 1: score_rejected is missing; the row has prompt"):
        ultrafeedback(folder).check()
    (folder / "train_prefs.jsonl.gz").unlink()
    with pytest.raises(BadInput, match="holds no train_prefs split"):
        ultrafeedback(folder).check()


def test_real_rows() -> None:
    path = DATA / "ultrafeedback_binarized"
    if not path.is_dir():
        pytest.skip(
            "real UltraFeedback rows are not beside this checkout "
            "(../shared/data/ultrafeedback_binarized)"
        )
    data = ultrafeedback(path, validation_pairs=500, train_pairs=100, test_pairs=60)
    data.check()
    train, test = data.released
    assert (train.read, len(train), test.read, len(test)) == (2559, 2559, 450, 450)
    speaker = tokenizer("stories260K")
    made = data.preferences(0, speaker, None)
    for split in (made.train, made.validation, made.test):
        for side in (split.chosen, split.rejected):
            assert all(ids[-1] == 2 and len(ids) <= 512 for ids in side.ids)
