"""Policies that are trained together fail and resume as they do alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.cells import prepare
from sympo.losses import Logistic
from sympo.pipelines import preference_training, stacked_policies
from sympo.pipelines.cell import Cell
from sympo.pipelines.runner import run_cells
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY, history

# one step
ONE_STEP = ["job.epochs=1", "job.batch_size=96"]
ALONE = "job.attention=grouped"


class BreaksWeights(Logistic):
    """A finite loss whose gradient is not finite."""

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return super().__call__(z) + (0 * z).sqrt()


class Killed(BaseException):
    pass


def cell(results: Path, *overrides: str) -> Cell:
    return prepare(
        *composed(*SMALL_POLICY, "noise=0.2", "threads=1", f"results_dir={results}", *overrides)
    )


@pytest.mark.parametrize("how", [[], [ALONE]], ids=["together", "alone"])
def test_a_policy_that_diverges_in_its_last_step_fails_alone(
    tmp_path: Path, how: list[str]
) -> None:
    whole, broken = (
        cell(tmp_path, f"loss={loss}", *ONE_STEP, *how) for loss in ("ramp", "logistic")
    )
    broken = replace(broken, loss=BreaksWeights())
    batches = [[whole, broken]] if not how else [[whole], [broken]]
    ended = [one for batch in batches for one in run_cells(batch)]
    assert [one.status for one in ended] == ["complete", "failed"]
    assert ended[1].error is not None
    assert "BreaksWeights" in ended[1].error and "after step 1 are not finite" in ended[1].error
    assert not (ended[1].folder / "summary.json").exists()
    assert [line["epoch"] for line in history(ended[0].folder)] == [0, 1]


@pytest.mark.parametrize(
    ("before", "after", "trainer"),
    [([], [ALONE], stacked_policies._Pass), ([ALONE], [], preference_training.Training)],
    ids=["together, then alone", "alone, then together"],
)
def test_a_killed_policy_starts_over_if_it_is_computed_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    before: list[str],
    after: list[str],
    trainer: type,
) -> None:
    step: Callable[..., None] = vars(trainer)["_after_step"]

    def kill(self: Any, loss: Any) -> None:
        step(self, loss)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "_after_step", kill)
        run_cells([cell(tmp_path, *before, "job.checkpoint_minutes=0")])
    capsys.readouterr()
    (ended,) = run_cells([cell(tmp_path, *after)])
    assert ended.status == "complete"
    assert "starts over, because its checkpoint is from another trainer" in capsys.readouterr().out


def test_policies_at_different_steps_resume_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(folder: str) -> list[Cell]:
        settings = ["job.checkpoint_minutes=0", "job.evaluate_every=0.4"]
        return [cell(tmp_path / folder, f"loss={loss}", *settings) for loss in ("ramp", "dr_dpo")]

    whole, killed = both("whole"), both("killed")
    assert {one.status for one in run_cells(whole)} == {"complete"}
    step = stacked_policies._Pass._after_step

    def kill_at(last: int) -> None:
        def kill(self: stacked_policies._Pass, losses: Any) -> None:
            step(self, losses)
            if self.trainer.done == last:
                raise Killed

        monkeypatch.setattr(stacked_policies._Pass, "_after_step", kill)

    # the second time after the last step
    for last, cells in ((2, killed), (6, killed[:1])):
        kill_at(last)
        with pytest.raises(Killed):
            run_cells(cells)
    kill_at(-1)
    assert {one.status for one in run_cells(killed)} == {"complete"}
    for one, other in zip(whole, killed, strict=True):
        for file in ("metrics.jsonl", "samples/last.jsonl", "samples/selected.jsonl"):
            same = [(each.folder.path / file).read_text() for each in (one, other)]
            assert same[0] == same[1]
