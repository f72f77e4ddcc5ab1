"""The largest pass that fits, found with meters of made-up memory."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sympo.models.texts.policies import Policy
from sympo.training import pass_memory
from sympo.training.pass_memory import (
    Fit,
    Pass,
    fitting,
    largest_pass,
    measured_pass,
    scoring_tokens,
    training_tokens,
)
from tests.training.made_pairs import TINY, VOCABULARY, make_rows

FIXED, EACH = 5_000, 7


class Made:
    """A GPU of made-up size, on which a pass takes `bytes_of(its tokens)`."""

    def __init__(
        self, tokens: np.ndarray, size: float, bytes_of: Callable[[int], float] | None = None
    ) -> None:
        self.tokens, self.size = tokens, size
        self.bytes_of = bytes_of or (lambda tokens: FIXED + EACH * tokens)
        self.seen: list[int] = []

    def available(self) -> int:
        return int(self.size)

    def peak(self, work: Callable[[], None]) -> int:
        work()
        return int(self.bytes_of(self.seen[-1]))

    def attempt(self, index: np.ndarray) -> None:
        self.seen.append(int(self.tokens[index].sum()))
        if self.bytes_of(self.seen[-1]) > self.size:
            raise torch.OutOfMemoryError("made up")


def fit(made: Made, per_step: int, reserved: int = 0) -> Fit:
    return largest_pass(made.tokens, per_step, made.attempt, made, reserved)


ROWS = np.random.default_rng(0).integers(50, 400, 1000)
STEP = int(np.sort(ROWS)[-200:].sum())  # 200 rows a step


@pytest.mark.parametrize("available", [0, 100, 2000, 1e9])
def test_the_line_through_two_passes(available: float) -> None:
    small, large = Pass(100, 700), Pass(300, 1500)  # 300 + 4 t
    expected = {0: 0, 100: 0, 2000: 425, 1e9: 9000}[available]
    assert fitting(small, large, available, 9000) == expected


def test_a_pass_that_does_not_grow() -> None:
    assert fitting(Pass(100, 50), Pass(200, 50), 60, 9000) == 9000
    assert fitting(Pass(100, 50), Pass(200, 40), 45, 9000) == 0


@pytest.mark.parametrize("size", [50_000, 100_000, 300_000])
def test_it_is_the_largest_that_leaves_the_margin(size: int) -> None:
    made = Made(ROWS, size)
    found = fit(made, 200, reserved=10_000)
    usable = 0.9 * (size - 10_000)
    assert FIXED + EACH * found.tokens <= usable < FIXED + EACH * (found.tokens + 1)
    # it was tried with the longest rows, as far as rows of whole tokens reach
    assert found.tokens - 400 < made.seen[-1] <= found.tokens
    assert found.most == STEP and str(found).startswith(f"{found.tokens:,} tokens per pass, chosen")


def test_no_pass_is_larger_than_a_step() -> None:
    found = fit(Made(ROWS, 1e9), 200)
    assert found.tokens == STEP
    assert "a whole step" in str(found) and "0.9 GiB" in str(found)
    assert fit(Made(np.array([300, 200]), 1e9), 64).tokens == 500
    assert fit(Made(np.array([300]), 1e9), 64).tokens == 300


def test_what_the_line_does_not_show_is_found_by_the_trial() -> None:
    # a buffer that only large passes need
    made = Made(ROWS, 200_000, lambda tokens: FIXED + EACH * tokens + 60_000 * (tokens > 15_000))
    found = fit(made, 200)
    assert made.bytes_of(max(made.seen)) > made.size  # the first trial ran out of memory
    assert 0.7 * 15_000 < found.tokens <= 0.9 * 200_000 / EACH
    assert made.bytes_of(found.tokens) <= 0.9 * made.size


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 399), (FIXED + EACH * 1000, 399), (FIXED + EACH * 3000, 2048)],
    ids=["nothing fits", "the first pass does not", "the second does not"],
)
def test_running_out_at_once_leaves_what_fitted(size: int, expected: int) -> None:
    found = fit(Made(ROWS, size), 200)
    assert found.tokens == pytest.approx(expected, abs=400) and found.tokens >= ROWS.max()


def test_measuring_changes_nothing_about_the_model() -> None:
    rows, policy = make_rows(), Policy(TINY.build(VOCABULARY, 0))
    before = [p.detach().clone() for p in policy.model.parameters()]
    state = torch.get_rng_state()

    class Growing(Made):
        def peak(self, work: Callable[[], None]) -> int:
            work()
            torch.rand(3)  # as dropout draws
            assert all(p.grad is not None for p in policy.model.parameters())
            self.seen.append(0)
            return 1000 * len(self.seen)

    found = measured_pass(policy, rows, 8, Growing(rows.tokens, 1e12))
    assert found.tokens == np.sort(rows.tokens)[-8:].sum()
    assert torch.equal(torch.get_rng_state(), state)
    for p, old in zip(policy.model.parameters(), before, strict=True):
        assert p.grad is None and torch.equal(p, old)


def test_moments_are_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, policy = make_rows(), Policy(TINY.build(VOCABULARY, 0))
    policy.model.get_input_embeddings().requires_grad_(False)  # tied to the head: both frozen
    reserved: list[int] = []

    def largest(*arguments: object) -> Fit:
        reserved.append(arguments[-1])  # type: ignore[arg-type]
        return Fit(1, 1, 1)

    monkeypatch.setattr(pass_memory, "largest_pass", largest)
    measured_pass(policy, rows, 8, Made(rows.tokens, 1))
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    assert reserved == [2 * 4 * trained]


def test_on_a_cpu_auto_is_a_constant() -> None:
    rows, policy = make_rows(), Policy(TINY.build(VOCABULARY, 0))
    notes: list[str] = []
    assert training_tokens("auto", policy, rows, 8, notes.append) == 4096
    assert training_tokens(17, policy, rows, 8, notes.append) == 17
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert scoring_tokens("auto", cpu) == 4096 and scoring_tokens("auto", cuda) == 16_384
    assert scoring_tokens(17, cuda) == 17 and not notes


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_is_measured() -> None:
    rows, policy = make_rows(), Policy(TINY.build(VOCABULARY, 0).to("cuda"))
    notes: list[str] = []
    tokens = training_tokens("auto", policy, rows, 8, notes.append)
    assert tokens == np.sort(rows.tokens)[-8:].sum() and "GiB of free GPU memory" in notes[0]
