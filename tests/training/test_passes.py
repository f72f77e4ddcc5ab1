"""Out of memory, a step is repeated exactly, with half as many tokens per pass."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sympo.losses import DrDPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.training.fine_tuning import fine_tune
from sympo.training.optimizer import Recipe
from sympo.training.passes import Passes
from sympo.types import Encoded
from tests.training.made_pairs import PAIRS, TINY, VOCABULARY, make_rows, trainer, weights

CPU = torch.device("cpu")
ROWS = make_rows()


class Small:
    """Makes a policy run out of memory in every pass of more than `size` tokens, forward or, after
    it has added gradients, backward."""

    def __init__(self, policy: Policy, size: int, backward: bool = False) -> None:
        self.size, self.failed, self.scores = size, 0, policy.scores
        self.backward = backward
        policy.scores = self.call  # type: ignore[method-assign]

    def call(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        scores = self.scores(rows, index)
        # draws that depend on the state of the generator, as dropout does
        scores = scores * (1 + 0.1 * torch.rand_like(scores))
        if rows.tokens[index].sum() > self.size:
            if not self.backward:
                self._fail()
            scores.register_hook(lambda gradient: self._fail())  # type: ignore[no-untyped-call]
        return scores

    def _fail(self) -> None:
        self.failed += 1
        raise torch.OutOfMemoryError("made up")


@pytest.mark.parametrize("backward", [False, True])
def test_the_step_is_that_of_half_the_tokens(backward: bool) -> None:
    notes: list[str] = []
    # passes are ordered by length: the first ones of 84 tokens add gradients before one fails
    own = trainer(ROWS, DrDPO(temperature=0.2), tokens=84)
    other = trainer(ROWS, DrDPO(temperature=0.2), tokens=42)
    own.passes.note = notes.append
    by_length = np.argsort(ROWS.tokens[:12], kind="stable")
    passes = [int(ROWS.tokens[part].sum()) for part in ROWS.batches(by_length, 84)]
    assert passes[0] < max(passes[1:])
    small = Small(own.scorer, max(passes) - 1, backward)
    Small(other.scorer, 10**6)
    found = []
    for one in (own, other):
        torch.manual_seed(0)
        found.append([one.step(np.arange(12)) for _ in range(2)])
    assert small.failed == 1 and own.passes.tokens == other.passes.tokens == 42
    assert found[0] == found[1] and torch.equal(weights(own), weights(other))
    assert notes == [
        "out of GPU memory: repeating with 42 tokens per pass, which changes numbers by rounding "
        "only"
    ]


def test_a_row_that_does_not_fit_alone_is_an_error() -> None:
    own = trainer(ROWS, DrDPO(), tokens=10_000)
    own.passes.note = lambda text: None
    before = weights(own)
    Small(own.scorer, int(ROWS.tokens.max()) - 1)
    with pytest.raises(torch.OutOfMemoryError) as error:
        own.step(np.arange(PAIRS))
    assert f"longest row alone, {ROWS.tokens.max()} tokens" in error.value.__notes__[0]
    assert own.passes.tokens <= ROWS.tokens.max() and torch.equal(weights(own), before)


def test_fine_tuning_repeats_a_step_too() -> None:
    corpus = PackedRows(Encoded([np.array([1, 2, 3, 4, 5, 10])] * 32, np.full(32, 2)))
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=1e-2)
    found = []
    for tokens, size in ((96, 50), (48, 10**6)):
        policy, seen = Policy(TINY.build(VOCABULARY, 0)), list[float]()
        Small(policy, size)

        def keep(step: int, steps: int, loss: float, seen: list[float] = seen) -> None:
            seen.append(loss)

        torch.manual_seed(0)
        fine_tune(policy, corpus, recipe, 0, tokens, keep, lambda text: None)
        found.append((seen, torch.cat([p.detach().flatten() for p in policy.model.parameters()])))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_other_errors_pass_through() -> None:
    def fail(tokens: int) -> None:
        raise ValueError(tokens)

    with pytest.raises(ValueError, match="64"):
        Passes(64, 8, CPU, print).run(fail)


def test_the_smaller_number_is_kept() -> None:
    asked: list[int] = []

    def work(tokens: int) -> int:
        asked.append(tokens)
        if tokens > 20:
            raise torch.OutOfMemoryError
        return tokens

    passes = Passes(100, 8, CPU, lambda text: None)
    assert passes.run(work) == 12 and passes.run(work) == 12
    assert asked == [100, 50, 25, 12, 12]
