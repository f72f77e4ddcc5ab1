"""A measurement is repeated until its interval is narrow; here only measurements take time."""

from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat

import pytest

from experiments.benchmarks.repetition import Until, relative_half_width, repeated


class FakeClock:
    def __init__(self, durations: Iterator[float]) -> None:
        self.durations, self.now = durations, 0.0

    def __call__(self) -> float:
        return self.now

    def measure(self) -> float:
        duration = next(self.durations)
        self.now += duration
        return duration


def run(durations: Iterator[float], until: Until) -> tuple[list[float], float]:
    clock = FakeClock(durations)
    measure: Callable[[], float] = clock.measure
    return repeated(measure, until, clock), clock.now


def test_steady_measurements_stop_at_the_least() -> None:
    found, _ = run(repeat(0.1), Until(half_width=0.02, least=4, seconds=100))
    assert found == [0.1] * 4


def test_it_repeats_until_the_interval_is_narrow() -> None:
    until = Until(half_width=0.05, least=3, seconds=1000)
    found, _ = run(cycle([0.9, 1.1]), until)
    assert 3 < len(found) < 50
    assert relative_half_width(found) <= 0.05 < relative_half_width(found[:-1])


def test_noise_stops_at_the_limit_of_time() -> None:
    found, took = run(cycle([0.5, 1.5]), Until(half_width=0.001, least=3, seconds=20))
    assert 18 < took <= 20
    assert len(found) == pytest.approx(20, abs=1)


def test_slow_rounds_are_done_as_often_as_the_least() -> None:
    found, took = run(cycle([80.0, 90.0]), Until(half_width=0.001, least=3, seconds=10))
    assert (len(found), took) == (3, 250.0)


def test_a_first_slow_round_does_not_end_it() -> None:
    found, _ = run(chain([5.0], repeat(0.1)), Until(half_width=0.02, least=3, seconds=12))
    assert len(found) > 3


def test_half_width_is_that_of_students_interval() -> None:
    # t(0.975, 2) = 4.303, sd = 1, n = 3
    assert relative_half_width([9.0, 10.0, 11.0]) == pytest.approx(4.3027 / 3**0.5 / 10, rel=1e-4)
    assert relative_half_width([1.0]) == float("inf")
