"""Progress as users see it: permanent lines, one live line on a terminal, few lines in a file."""

import io
from types import SimpleNamespace
from typing import Any

import pytest

from sympo.pipelines import forecast, progress
from sympo.pipelines.progress import Progress, Terminal
from sympo.pipelines.runner import Recorder
from sympo.types import Evaluation


class TTY(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_permanent_lines_and_occasional_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    one = Progress("[1/2] a", Terminal(stream))
    for epoch in range(1, 11):
        now[0] += 4
        one.status(f"epoch {epoch}/10")
    one.end("done")
    assert stream.getvalue().splitlines() == [
        "[1/2] a  epoch 4/10",
        "[1/2] a  epoch 8/10",
        "[1/2] a  done  40.0 s",
    ]


def test_a_terminal_shows_all_places_in_one_live_line() -> None:
    stream = TTY()
    screen = Terminal(stream)
    screen.live(0, "one")
    screen.live(1, "two")
    assert stream.getvalue().endswith("\r\033[Kone | two")
    screen.line(0, "one is done")
    assert stream.getvalue().endswith("\r\033[Kone is done\n\r\033[Ktwo")
    screen.live(0, "x" * 1000)
    shown = stream.getvalue().split("\r\033[K")[-1]
    assert len(shown) < 1000 and shown.endswith("…")


def test_the_time_left_separates_training_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now[0])
    stream = TTY()
    job = SimpleNamespace(epochs=1, evaluate_every=1)
    run: Any = SimpleNamespace(
        progress=Progress("cell", Terminal(stream)), cell=SimpleNamespace(job=job), at=1, of=2,
        headline="accuracy", record=lambda epoch, found: None,
    )  # fmt: skip
    recorder = Recorder([run], after=1)

    def step(epoch: float, seconds: float) -> str:
        now[0] += seconds
        recorder.step(epoch)
        return stream.getvalue().split("\r\033[K")[-1]

    step(0, 0)
    now[0] += 100  # an evaluation before training, of two
    recorder.evaluation(0, 0, Evaluation({"accuracy": 0.7}, {}))
    assert step(0.01, 2) == "cell  epoch 0.01/1  accuracy 70.0%"
    assert step(0.02, 2) == "cell  epoch 0.02/1  accuracy 70.0%"
    step(0.03, 2)
    assert "cell  about 7 min per cell, the sweep at most 13 min" in step(0.04, 2)
    # 2 s for each of 100 steps, and 100 s for the evaluation at the end: not 104 s for each step
    assert step(0.05, 2) == ("cell  epoch 0.05/1  accuracy 70.0%  5 min left, sweep at most 11 min")


def test_a_batch_that_resumes_from_two_epochs_has_one_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(forecast.time, "monotonic", lambda: now[0])
    found = forecast.Forecast(60, forecast.evaluations(60, 1))
    for first in (0, 1):  # cells at epoch 0 first, then those at epoch 1, a second an epoch
        found.restart()
        for epoch in range(first, 61):
            found.step(epoch)
            found.evaluated()
            now[0] += 1
    assert found.per_epoch == pytest.approx(1)
