"""run.py on people's own preference files."""

import json
from pathlib import Path

import pytest

from experiments.cells import prepare
from sympo.types import BadInput
from tests.helpers.commands import cells, run
from tests.helpers.configs import composed

SMALL = [
    "dataset=preferences", "model=tfidf", "dataset.validation_pairs=20", "job.epochs=1",
]  # fmt: skip


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"Question {i}", "chosen": f"good {i}", "rejected": f"bad {i}",
         "good": 1 + i % 5, "bad": 0}
        for i in range(120)
    ]  # fmt: skip
    path = tmp_path / "scored pairs (1).json"
    path.write_text(json.dumps(rows))
    return path


def test_scores_decide_what_flips(tmp_path: Path, scored: Path) -> None:
    close = ["noise_model=instance_dependent", "noise=0.3"]
    code, _, err = run(tmp_path, *SMALL, f"dataset.path={scored}", *close)
    assert code == 2 and "dataset.score_chosen" in err and err.count("\n") == 1
    columns = ["dataset.score_chosen=good", "dataset.score_rejected=bad"]
    code, out, err = run(tmp_path, *SMALL, f"dataset.path={scored}", *close, *columns)
    assert code == 0, err
    (path,) = cells(tmp_path).values()
    last = json.loads((path / "summary.json").read_text())["last"]
    # scores are a judge's: they are no truth to be in order with
    assert "test/label_accuracy" in last and "test/order_accuracy" not in last
    assert "test/order_accuracy" not in out


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_a_value_that_hydra_refuses(tmp_path: Path, mode: list[str]) -> None:
    code, _, err = run(tmp_path, *mode, *SMALL, "dataset.path=missing (1).jsonl")
    assert code == 2 and err.count("\n") == 1
    assert "'dataset.path=\"missing (1).jsonl\"'" in err


def test_deep_nesting_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    code, _, err = run(tmp_path, *SMALL, f"dataset.path={tmp_path / 'deep.jsonl'}")
    assert code == 2 and err.endswith("row 1 is broken JSON: it is nested too deep\n")


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"}
            for i in range(100)]  # fmt: skip
    rows += [{"prompt": f"Why {i}?", "chosen": "Yes.", "rejected": "yes!"} for i in range(60)]
    rows += [{"prompt": f"Why not {i}?", "chosen": "No.", "rejected": ""} for i in range(7)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    code, out, err = run(
        tmp_path, "-m", *SMALL, f"dataset.path={tmp_path / 'a.json'}", "loss=ramp,logistic"
    )
    assert code == 0, err
    kept = [(path / "data.json").read_text() for path in cells(tmp_path).values()]
    assert len(kept) == 2 and kept[0] == kept[1] and out.count("train: ") == 1
    splits = json.loads(kept[0])["splits"]
    for split in splits.values():
        assert split["rows"] == split["pairs"] + sum(split["left_out"].values())
    assert splits["train"]["rows"] == 167
    assert splits["train"]["left_out"]["dropped for an empty answer"] == 7
    alike = [split["left_out"]["dropped for two answers with the same words"]
             for split in splits.values()]  # fmt: skip
    assert sum(alike) == 60
    assert f"{splits['train']['pairs']} pairs of 167 rows; 7 dropped for an empty answer" in out


def test_rows_of_which_none_is_left_are_an_error_that_says_why(tmp_path: Path) -> None:
    rows = [{"prompt": f"Why {i}?", "chosen": "Yes.", "rejected": "yes!"} for i in range(120)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    small = [*SMALL, f"dataset.path={tmp_path / 'a.json'}", f"results_dir={tmp_path}"]
    for more, words in (
        ([], "dropped for two answers with the same words"),
        (["dataset.test=a.json"], "120 train rows is usable: 120 dropped for a prompt of the test"),
        (["dataset.validation_pairs=110"], "validation_pairs=110 exceeds the 10"),
    ):
        with pytest.raises(BadInput, match=words) as error:
            prepare(*composed(*small, *more))
        assert "\n" not in str(error.value)
