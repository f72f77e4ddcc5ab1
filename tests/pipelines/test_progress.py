"""Progress as users see it: permanent lines, one live line on a terminal, few lines in a file."""

import io

import pytest

from sympo.pipelines import progress
from sympo.pipelines.progress import Progress, Terminal


class TTY(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_permanent_lines_and_occasional_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    screen = Terminal(stream)
    one = Progress("[1/2] a", 10, after=1, screen=screen)
    one.update(0)
    for epoch in range(1, 11):
        now[0] += 4
        one.update(epoch, "accuracy 70.0%" if epoch == 3 else None)
    one.end("done")
    assert stream.getvalue().splitlines() == [
        "[1/2] a  epoch 4/10  accuracy 70.0%  24.0 s left, sweep at most 64.0 s",
        "[1/2] a  epoch 8/10  accuracy 70.0%  8.0 s left, sweep at most 48.0 s",
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


def test_no_estimate_without_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = TTY()
    one = Progress("cell", 10, screen=Terminal(stream))

    def shown(epoch: float, metric: str | None = None) -> str:
        one.update(epoch, metric)
        return stream.getvalue().split("\r\033[K")[-1]

    shown(0)
    now[0] = 60
    assert shown(2) == "cell  epoch 2/10  "
    assert shown(3, "accuracy 70.0%") == "cell  epoch 3/10  accuracy 70.0%  2 min left"
    one.restart(3)  # resumed: what came before was another process
    now[0] = 62
    assert shown(4) == "cell  epoch 4/10  accuracy 70.0%"
