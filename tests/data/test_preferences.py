import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sympo.data.encoding import TextPair
from sympo.data.preferences import PreferenceSet
from sympo.types import BadInput

ASKED = {"role": "user", "content": "Hi"}
YES, NO = ({"role": "assistant", "content": text} for text in ("Yes", "No"))
PAIR = TextPair([ASKED], "Yes", "No")


def rows(numbers: range) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {i}", "chosen": f"yes {i}", "rejected": "no"} for i in numbers]


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(content).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def preferences(path: Path | None, **changes: Any) -> PreferenceSet:
    return PreferenceSet(**{"path": path and str(path), "validation_pairs": 5, **changes})


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No"}, {}),
        ({"prompt": [ASKED], "chosen": "Yes", "rejected": "No"}, {}),
        ({"prompt": [ASKED], "chosen": [YES], "rejected": [NO]}, {}),
        ({"prompt": "Hi", "chosen": [ASKED, YES], "rejected": [ASKED, NO]}, {}),
        ({"chosen": [ASKED, YES], "rejected": [ASKED, NO]}, {"prompt": None}),
        (
            {"question": "Hi", "better": "Yes", "worse": "No"},
            {"prompt": "question", "chosen": "better", "rejected": "worse"},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_form_of_a_row(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], kind: str
) -> None:
    path = write(tmp_path / f"a.{kind}", [row])
    assert preferences(path, **columns).usable("train").pairs == [PAIR]


@pytest.mark.parametrize(
    ("row", "columns", "reason"),
    [
        ({"prompt": "Hi", "chosen": [ASKED], "rejected": [NO]}, {}, "no answer"),
        ({"prompt": "Hi", "chosen": [], "rejected": [NO]}, {}, "no answer"),
        ({"prompt": "Ho", "chosen": [ASKED, YES], "rejected": [NO]}, {}, "another prompt"),
        ({"chosen": [ASKED, YES], "rejected": [NO]}, {"prompt": None}, "two different prompts"),
    ],
)
def test_rows_without_a_preference_are_counted(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], reason: str
) -> None:
    [(dropped, count)] = (
        preferences(write(tmp_path / "a.jsonl", [row]), **columns).usable("train").dropped.items()
    )
    assert reason in dropped and count == 1


@pytest.mark.parametrize(
    ("row", "columns", "words"),
    [
        ({"prompt": "Hi", "chosen": "Yes"}, {}, "rejected is missing"),
        ({"prompt": 3, "chosen": "Yes", "rejected": "No"}, {}, "prompt=3 must be of type str or"),
        ({"chosen": "Yes", "rejected": "No"}, {}, "prompt is missing"),
        ({"chosen": "Yes", "rejected": "No"}, {"prompt": None}, "chosen='Yes' must be of type lis"),
        ({"prompt": "Hi", "chosen": [3], "rejected": "No"}, {}, "message 1 of chosen"),
    ],
)
def test_broken_row_is_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    with pytest.raises(BadInput, match=words) as error:
        preferences(path, **columns).check()
    assert str(error.value).startswith(f"{path} row 1: ")


def test_test_split_is_a_share_of_the_prompts(tmp_path: Path) -> None:
    table = rows(range(200)) + [{**row, "rejected": "nope"} for row in rows(range(200))]
    data = preferences(write(tmp_path / "a.jsonl", table), test_share=0.25)
    data.check()
    asked = {
        split: {pair.prompt[0]["content"] for pair in found.pairs}
        for split, found in data.splits.items()
    }
    assert not asked["train"] & asked["test"] and not asked["train"] & asked["validation"]
    assert 60 < len(data.splits["test"]) < 140
    turned = preferences(write(tmp_path / "b.jsonl", table[::-1]), test_share=0.25)
    assert [*turned.splits["test"].ids] == [*data.splits["test"].ids]
    assert turned.fingerprint() == data.fingerprint()


def test_named_test_split(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(range(20)))
    write(tmp_path / "held.parquet", rows(range(20, 23)))
    for path, test in ((tmp_path, "held"), (tmp_path / "train.jsonl", "held.parquet")):
        data = preferences(path, test=test)
        data.check()
        assert (len(data.splits["train"]), len(data.splits["test"])) == (15, 3)


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (None, {}, "either path"),
        ("a.jsonl", {"name": "someone/set"}, "either path"),
        ("nowhere", {}, "neither file nor folder"),
        ("a.jsonl", {"test": "b.jsonl"}, "b.jsonl is no file"),
        ("a.txt", {}, "a.txt must end with .jsonl"),
        (".", {}, "holds no train split"),
        ("a.jsonl", {"test_share": 1.0}, "dataset.test_share=1.0"),
        ("a.jsonl", {"test_share": 0.001}, "test rows is usable"),
    ],
)
def test_bad_settings(
    tmp_path: Path, path: str | None, changes: dict[str, Any], words: str
) -> None:
    for name in ("a.jsonl", "a.txt"):
        write(tmp_path / name, rows(range(20)))
    with pytest.raises(BadInput, match=words) as error:
        preferences(path and tmp_path / path, **changes).check()  # type: ignore[operator, arg-type]
    assert "\n" not in str(error.value)


def test_hub_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, data_dir: str | None, split: str) -> Any:
        assert (name, data_dir) == ("someone/set", None)
        return datasets.Dataset.from_list(rows(range(20) if split == "left" else range(20, 25)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = preferences(None, name="someone/set", train="left", test="right")
    data.check()
    assert len(data.splits["test"]) == 5
