"""An error in another process comes back as text, also one that cannot be pickled."""

import math
import os

from experiments.benchmarks.isolated import Failure, alone


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(math, "holds a module")  # as torch.compile's errors do


def divide(a: int, b: int) -> float:
    return a / b


def fails() -> None:
    raise Unpicklable


def dies() -> None:
    os._exit(9)


def test_a_result_comes_back() -> None:
    assert alone(divide, 3, 2) == 1.5


def test_an_error_comes_back_as_its_traceback() -> None:
    found = alone(divide, 1, 0)
    assert isinstance(found, Failure)
    assert found.reason == "ZeroDivisionError: division by zero"
    assert "return a / b" in found.text


def test_an_error_that_cannot_be_pickled_comes_back() -> None:
    found = alone(fails)
    assert isinstance(found, Failure) and "Unpicklable" in found.reason


def test_a_process_that_dies_is_a_failure() -> None:
    assert isinstance(alone(dies), Failure)
