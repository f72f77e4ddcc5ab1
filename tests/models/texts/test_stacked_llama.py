"""Llamas of several cells are the models of `transformers`, and do not affect each other."""

from typing import Any

import numpy as np
import pytest
import torch

from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.types import Encoded, Vocabulary

VOCABULARY = Vocabulary(size=12, bos=None, eos=10, pad=11)
CPU = torch.device("cpu")


def model(seed: int, **settings: Any) -> Any:
    given = {"hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 2}
    built = TinyLM(**{**given, "max_positions": 32, **settings}).build(VOCABULARY, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in built.parameters():  # norms and small weights of a fresh model hide faults
            parameter.data += 0.3 * torch.randn_like(parameter)
    return built.double()


def rows(sides: int) -> PackedRows:
    """Rows whose sides share all of the prompt, more than it, or end at once."""
    draw = np.random.default_rng(0)
    made: list[tuple[list[np.ndarray], list[int]]] = [([], []) for _ in range(sides)]
    for number in range(14):
        prompt = draw.integers(0, 10, draw.integers(1, 6))
        common = draw.integers(0, 10, number % 3)
        for ids, starts in made:
            answer = np.concatenate([common, draw.integers(0, 10, draw.integers(0, 9)), [10]])
            ids.append(np.concatenate([prompt, answer]))
            starts.append(len(prompt))
    return PackedRows(*(Encoded(ids, np.array(starts)) for ids, starts in made))


def stacked(models: list[Any]) -> StackedLlama:
    own = [StackedLlama.of(one, 1).weights.detach() for one in models]
    return StackedLlama(LlamaShape.of(models[0].config), torch.cat(own))


def separately(one: Any, data: PackedRows) -> torch.Tensor:
    """Log-probabilities of each side by the model's own forward pass."""
    found = []
    for row in data.rows:
        for side in range(data.sides):
            ids = torch.from_numpy(row.alone(side))
            logps = torch.log_softmax(one(ids[None]).logits[0], -1)
            mine = row.side == side
            place = torch.from_numpy(row.predictor_alone[mine])
            found.append(logps[place, torch.from_numpy(row.target[mine])].sum())
    return torch.stack(found).view(len(data), data.sides)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [{}, {"hidden_size": 24, "heads": 3, "layers": 1}, {"intermediate_size": 7, "layers": 3}],
    ids=["two layers", "three heads", "odd width"],
)
def test_values_and_gradients_are_those_of_separate_passes(
    settings: dict[str, int], sides: int
) -> None:
    models, data = [model(seed, **settings) for seed in (0, 1)], rows(sides)
    stack = stacked(models)
    table = RowTable(data, CPU, torch.float64)
    found = stack.logps(table.grid(np.arange(len(data))))
    direction = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator())
    (gradient,) = torch.autograd.grad((found * direction).sum(), stack.weights)
    for cell, one in enumerate(models):
        expected = separately(one, data)
        # transformers normalises and rotates in float32 whatever the weights
        torch.testing.assert_close(found[cell], expected, rtol=1e-6, atol=0)
        (expected * direction[cell]).sum().backward()
        own = model(0, **settings)
        StackedLlama(stack.shape, gradient).write(cell, own)
        for (name, exact), mine in zip(one.named_parameters(), own.parameters(), strict=True):
            error = (mine - exact.grad).abs().max() / exact.grad.abs().max()
            assert error < 1e-5, (name, float(error))


def test_the_gradient_is_the_derivative() -> None:
    stack = stacked([model(0, hidden_size=8, intermediate_size=6, layers=1)])
    grid = RowTable(rows(2), CPU, torch.float64).grid(np.arange(3))

    def scores(weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(stack, {"weights": weights}, (grid,))

    stack.forward = stack.logps  # type: ignore[method-assign]
    weights = stack.weights.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(scores, weights, rtol=1e-6, atol=1e-8)


def test_weights_go_there_and_back() -> None:
    one, other = model(0), model(1)
    StackedLlama.of(one, 2).write(1, other)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_cells_do_not_affect_each_other() -> None:
    models = [model(seed).float() for seed in range(3)]
    data = rows(2)
    table = RowTable(data, CPU, torch.float32)
    order = np.argsort(data.tokens, kind="stable")

    def scored(stack: StackedLlama) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.cat([stack.logps(grid) for grid in table.grids(order, 50)], 1)
        return found.detach(), torch.autograd.grad(found.sum(), stack.weights)[0]

    together, gradients = scored(stacked(models))
    for cell, one in enumerate(models):
        alone, gradient = scored(stacked([one]))
        assert torch.equal(together[cell], alone[0]) and torch.equal(gradients[cell], gradient[0])


def test_a_grid_is_cut_to_its_longest_row() -> None:
    data = rows(2)
    table = RowTable(data, CPU, torch.float32)
    short = np.argsort(data.tokens)[:2]
    assert table.grid(short).ids.shape == (2, data.tokens[short].max())
    assert data.tokens[short].max() < data.tokens.max()
