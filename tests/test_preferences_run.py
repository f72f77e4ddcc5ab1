"""run.py on people's own preference files."""

import json
from pathlib import Path

import pytest

from tests.test_run import cells, run

SMALL = ["dataset=preferences", "model=tfidf", "dataset.validation_pairs=20", "job.epochs=1"]


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
