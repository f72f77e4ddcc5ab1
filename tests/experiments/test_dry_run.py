"""What a sweep would do and cost, without doing it."""

import re
from pathlib import Path

import pytest

from sympo.pipelines import forecast
from sympo.pipelines.forecast import Forecast, evaluations
from tests.helpers.commands import SMALL_IMAGES, cells, run
from tests.helpers.policies import SMALL_POLICY


def test_training_and_evaluations_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now[0])
    found = Forecast(epochs=2, evaluations=evaluations(2, 0.5))
    found.step(0)
    now[0] += 7  # an evaluation before training
    found.evaluated()
    for place in range(1, 5):
        now[0] += 3
        assert not found.ready
        found.step(place / 10)
    assert found.ready
    assert found.per_epoch == pytest.approx(30)
    assert found.per_evaluation == pytest.approx(7)
    assert found.seconds == pytest.approx(2 * 30 + 5 * 7)
    # half of training, and two of the four evaluations after its start
    assert found.left(1) == pytest.approx(30 + 2 * 7)
    assert found.left(2) == 0


@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_evaluations_after_every_step_are_timed_with_it(
    epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now[0])
    found = Forecast(epochs, evaluations(epochs, 1))
    found.step(0)
    for epoch in range(1, epochs + 1):
        now[0] += 3 if epoch > 1 else 9  # the first also compiles
        found.evaluated()
        found.step(epoch)
        if found.ready:
            break
    assert epoch == min(epochs, 4)
    assert found.seconds == pytest.approx(epochs * (3 if epochs > 1 else 9))


def test_images(tmp_path: Path) -> None:
    sweep = ["-m", "loss=ramp,logistic", "noise=0.3", *SMALL_IMAGES, "job.epochs=8"]
    sweep += ["job.evaluate_every=2"]
    code, _, err = run(tmp_path, *(one.replace(",logistic", "") for one in sweep[1:]))
    assert code == 0, err
    code, out, err = run(tmp_path, *sweep, "dry_run=true")
    assert code == 0, err
    assert "ramp noise=0.3 seed=0  complete" in out
    assert "logistic noise=0.3 seed=0  to run" in out
    assert "2 cells: 1 complete, 1 to run" in out
    assert re.search(r"about [\d.]+ s in all with 1 process, peak memory about [\d.]+ GB", out)
    assert len(cells(tmp_path)) == 1  # a dry run leaves nothing


def test_policies(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, *SMALL_POLICY, "job.epochs=4", "dry_run=true")
    assert code == 0, err
    assert "stages to make: sft, pairs, reference-logps, reference-answers" in out
    assert "for the missing stages" in out
    assert not list(tmp_path.iterdir())
