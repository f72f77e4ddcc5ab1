"""Runs a property on many generated examples, and says what a refusal may look like."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sympo.types import LONGEST_SENTENCE, BadInput


def many(short: int, long: int) -> pytest.MarkDecorator:
    """How many examples: few by default, the many with `-m slow`."""
    return pytest.mark.parametrize("examples", [short, pytest.param(long, marks=pytest.mark.slow)])


def fuzz(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Check generated examples; a failure shows the smallest one found."""
    run = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # the same examples every time in the short form, others in each long one
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    run(given(strategy)(check))()


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder for one example."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def refusal(call: Callable[[], Any], *named: str) -> str | None:
    """The sentence that refuses a call's input, checked; None if it was accepted. Any error but
    BadInput is raised.

    named: what the sentence must name.
    """
    try:
        call()
    except BadInput as error:
        check_sentence(str(error), *named)
        return str(error)
    return None


def check_sentence(text: str, *named: str) -> None:
    assert text.strip() and text.isprintable(), text
    assert len(text) <= LONGEST_SENTENCE, text
    assert "Traceback" not in text and " object at 0x" not in text, text
    for one in named:
        assert one in text, (one, text)
