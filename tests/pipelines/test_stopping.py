"""Training that is asked to stop saves a checkpoint, and resumes to the same numbers."""

import threading
from pathlib import Path

import pytest

from experiments.cells import prepare
from sympo.pipelines.runner import run_cells
from sympo.runs import stopping
from tests.experiments.test_batches import Lines
from tests.helpers.commands import SMALL_IMAGES
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY

JOBS = {
    "images": [*SMALL_IMAGES, "dataset.test_pairs=300"],
    "policies together": SMALL_POLICY,
    "policies alone": [*SMALL_POLICY, "job.attention=grouped"],
}


def history(results: Path, job: str) -> str:
    """Run a cell to its end, or until it stops; returns its evaluations."""
    where = [f"results_dir={results}", "wandb.mode=disabled", "threads=1", "device=cpu"]
    cell = prepare(*composed("loss=ramp", "noise=0.3", *JOBS[job], *where))
    screen = Lines()
    (result,) = run_cells([cell], screen=screen)
    assert result.status == "complete", result.error
    assert any("resumes from epoch" in line for line in screen.said) == (results.name == "stopped")
    return (cell.folder.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    "job", ["images", *(pytest.param(job, marks=pytest.mark.slow) for job in list(JOBS)[1:])]
)
def test_a_stopped_cell_resumes_to_the_same_numbers(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as asked:
        asked.setattr(stopping, "_asked", threading.Event())
        stopping.ask_to_stop()
        with pytest.raises(stopping.Stopped):
            history(tmp_path / "stopped", job)
    assert list((tmp_path / "stopped").rglob("checkpoint.pt"))
    assert not list((tmp_path / "stopped").rglob("error.log"))
    assert history(tmp_path / "stopped", job) == history(tmp_path / "whole", job)
