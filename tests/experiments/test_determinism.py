"""What is equal bit by bit, what only agrees, and what explains a difference."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments import compare_runs
from experiments.cells import prepare
from sympo.pipelines.runner import run_cells
from tests.experiments.test_batches import Lines
from tests.helpers.commands import SMALL_IMAGES
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY

LANGUAGE = [one for one in SMALL_POLICY if one.startswith("dataset.")]
GROUPS = {
    "images": [*SMALL_IMAGES],
    "texts": ["dataset=gold_language", *LANGUAGE, "job.epochs=1", "model.hidden_size=16",
              "model.intermediate_size=24", "model.heads=2", "job.reference.sft.epochs=1",
              "job.reference.model.hidden_size=16", "job.reference.model.heads=2",
              "job.reference.model.intermediate_size=24"],
    "policies": [*SMALL_POLICY, "job.epochs=1"],
}  # fmt: skip


def run(root: Path, *overrides: str, losses: tuple[str, ...] = ("ramp", "logistic")) -> list[Path]:
    """Run a batch of cells in this process; returns their folders."""
    cells = [
        prepare(*composed(f"loss={loss}", "noise=0.3", f"results_dir={root}",
                          "wandb.mode=disabled", *overrides))
        for loss in losses
    ]  # fmt: skip
    ended = run_cells(cells, screen=Lines())
    assert {one.status for one in ended} <= {"complete", "skipped"}, ended
    return [cell.folder.path for cell in cells]


def numbers(folder: Path) -> tuple[Any, Any, list[Any]]:
    found = json.loads((folder / "summary.json").read_text())
    samples = [file.read_bytes() for file in sorted(folder.glob("samples/*"))]
    return found["last"], found["selected"], [(folder / "metrics.jsonl").read_text(), *samples]


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_batch_gives_the_same_bits(group: str, tmp_path: Path) -> None:
    """Also under deterministic=true, which a CPU does not need."""
    one, other = (
        run(tmp_path / name, *GROUPS[group], *more)
        for name, more in (("one", []), ("other", ["deterministic=true"]))
    )
    for a, b in zip(one, other, strict=True):
        assert a.name == b.name, "deterministic is no part of the identity"
        assert numbers(a) == numbers(b)
        summaries = [json.loads((path / "summary.json").read_text()) for path in (a, b)]
        assert [s["environment"]["deterministic"] for s in summaries] == [False, True]
        assert compare_runs.causes(*summaries) == ["environment.deterministic: false | true"]


def test_a_complete_cell_says_that_it_was_not_deterministic(tmp_path: Path) -> None:
    run(tmp_path, *SMALL_IMAGES, losses=("ramp",))
    overrides = ["loss=ramp", "noise=0.3", f"results_dir={tmp_path}", "deterministic=true"]
    screen = Lines()
    run_cells([prepare(*composed(*overrides, *SMALL_IMAGES))], screen=screen)
    assert any("without deterministic=true; force=true" in line for line in screen.said)


def test_comparing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = run(tmp_path, *SMALL_IMAGES, losses=("ramp",))
    other = tmp_path / "other"
    shutil.copytree(one, other)
    assert compare_runs.main([str(one), str(other)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("both were made under the same recorded circumstances\n")
    summary = json.loads((one / "summary.json").read_text())
    assert f"last: {len(summary['last'])} metrics are equal, 0 differ" in out
    summary["environment"]["threads"] = 99
    del summary["trained_together"]
    accuracy = summary["last"]["test/order_accuracy"]
    summary["last"]["test/order_accuracy"] = accuracy - 0.25
    summary["selected"]["test/order_accuracy"] = None
    (other / "summary.json").write_text(json.dumps(summary))
    assert compare_runs.main([str(one), str(other)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["environment.threads: 1 | 99", "trained_together: 1 | not recorded"]
    assert f"last/test/order_accuracy: {accuracy} | {accuracy - 0.25} (by 0.25)" in lines
    assert f"last: {len(summary['last']) - 1} metrics are equal, 1 differ" in lines
    assert lines[-2].startswith("selected/test/order_accuracy: 0.") and lines[-2].endswith("| None")
    (other / "summary.json").unlink()
    assert compare_runs.main([str(one), str(other)]) == 2
    assert "summary.json is not the summary of a complete run" in capsys.readouterr().err
