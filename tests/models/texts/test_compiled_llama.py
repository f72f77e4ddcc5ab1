"""The compiled passes of small Llamas compute what PyTorch's operators compute."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sympo.models.texts import compiled_llama
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.row_grids import RowGrid, RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.types import BadInput, Encoded
from tests.conftest import ROOT
from tests.models.texts.made_rows import draw, encoded

USED = LlamaShape(34, 64, 128, 2, 4, 128, 1e-6, 1e4)
# no width is a multiple of a vector
ODD = LlamaShape(21, 24, 40, 3, 2, 128, 1e-5, 1e2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def llama(shape: LlamaShape = USED, cells: int = 3) -> StackedLlama:
    generator = torch.Generator().manual_seed(0)
    model = StackedLlama(shape, torch.randn(cells, shape.weights, generator=generator) / 8)
    with torch.no_grad():
        for name, part in model.weights_by_part().items():
            if name.endswith("norm"):
                part.add_(1)
    if model.compiled is None:
        pytest.skip("there is no C++ compiler")
    return model


def table(sides: int = 2, dtype: torch.dtype = torch.float32) -> RowTable:
    """Some rows alike in all but the last token, some longer than a block, and others."""
    drawn = draw(9, 40, USED.vocabulary) if sides == 2 else draw(9, 40, ODD.vocabulary)[:1]
    drawn = [encoded(*((list(ids % 21), start) for ids, start in zip(side.ids, side.start,
             strict=True)), ([1, 2], 1), ([3, 4, 5, 6], 2), (list(range(20)) * 5, 30))
             for side in drawn]  # fmt: skip
    return RowTable(PackedRows(*drawn), torch.device("cpu"), dtype)


def grid(sides: int = 2, dtype: torch.dtype = torch.float32) -> RowGrid:
    rows = table(sides, dtype)
    return rows.grid(np.random.default_rng(0).permutation(len(rows.lengths)))


def gradient(scores: Tensor, weights: Tensor) -> Tensor:
    factor = torch.randn(scores.shape[1:], generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((scores * factor).sum(), weights)[0]


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("shape", [USED, ODD], ids=["used", "odd"])
def test_values_and_gradients(shape: LlamaShape, sides: int) -> None:
    model = llama(shape)
    exact = StackedLlama(shape, model.weights.detach().double())
    scores, right = model.logps(grid(sides)), exact.logps(grid(sides, torch.float64))
    torch.testing.assert_close(scores.double(), right, rtol=2e-6, atol=2e-5)
    found, right = gradient(scores, model.weights), gradient(right, exact.weights)
    for name, part in StackedLlama(shape, (found - right).abs()).weights_by_part().items():
        assert part.max() < 4e-6 * right.abs().max(), name
    with torch.no_grad():
        assert torch.equal(model.logps(grid(sides)), scores)


def test_a_cell_does_not_depend_on_others() -> None:
    model = llama()
    scores = model.logps(grid())
    found = gradient(scores, model.weights)
    for cell in range(model.cells):
        alone = StackedLlama(USED, model.weights[cell : cell + 1].detach().clone())
        own = alone.logps(grid())
        assert torch.equal(own[0], scores[cell])
        assert torch.equal(gradient(own, alone.weights)[0], found[cell])
    with torch.no_grad():
        model.weights[1] = torch.nan
    broken = model.logps(grid())
    assert broken[1].isnan().all() and torch.equal(broken[::2], scores[::2])
    assert torch.equal(gradient(broken, model.weights)[::2], found[::2])


def test_a_row_does_not_depend_on_others() -> None:
    model, rows = llama(), table()
    index = np.arange(len(rows.lengths))
    every = model.logps(rows.grid(index))
    for row in index:
        assert torch.equal(model.logps(rows.grid(index[row : row + 1]))[:, 0], every[:, row])
    assert torch.equal(model.logps(rows.grid(index[::-1])), every.flip(1))


def test_threads_change_nothing() -> None:
    model = llama()
    scores = model.logps(grid())
    found = gradient(scores, model.weights)
    torch.set_num_threads(2)
    again = model.logps(grid())
    assert torch.equal(again, scores)
    assert torch.equal(gradient(again, model.weights), found)


def test_passes_keep_memory_of_their_own() -> None:
    model, rows = llama(), table()
    halves = [rows.grid(np.arange(start, len(rows.lengths), 2)) for start in (0, 1)]
    right = [gradient(model.logps(half), model.weights) for half in halves]
    both = [model.logps(half) for half in halves]
    for scores, expected in zip(both, right, strict=True):
        assert torch.equal(gradient(scores, model.weights), expected)


@pytest.mark.parametrize("shape", [USED, ODD], ids=["used", "odd"])
def test_samples_maximise_probability_over_noise(shape: LlamaShape) -> None:
    """More prompts than slots, of several lengths."""
    draw, model, end = np.random.default_rng(0), llama(shape), 5
    prompts = [draw.integers(0, 20, draw.integers(1, 7)) for _ in range(40)]
    noise = torch.empty(9, 40, shape.vocabulary)
    noise.exponential_(generator=torch.Generator().manual_seed(0))
    assert model.compiled is not None
    ids, total = model.compiled.sample(model.weights, prompts, noise, end, 7)
    made = ids.numpy()
    stop = np.where((made == end).any(2), (made == end).argmax(2) + 1, 9)
    assert len(np.unique(stop)) > 3
    for cell in range(model.cells):
        alone = StackedLlama(shape, model.weights[cell : cell + 1].detach().double())
        sides = [
            np.concatenate([prompt, own[:n]])
            for prompt, own, n in zip(prompts, made[cell], stop[cell], strict=True)
        ]
        starts = np.array([len(prompt) for prompt in prompts])
        rows = PackedRows(Encoded(sides, starts))
        grid = RowTable(rows, torch.device("cpu"), torch.float64).grid(np.arange(40))
        torch.testing.assert_close(total[cell], alone.logps(grid)[0, :, 0], rtol=0, atol=2e-5)
        # every token, by the score of the response cut after it with each other token instead
        row = cell * 7
        for step in range(stop[cell, row]):
            before = np.concatenate([prompts[row], made[cell, row, :step]])
            each = encoded(*(([*before, v], len(before)) for v in range(shape.vocabulary)))
            table = RowTable(PackedRows(each), torch.device("cpu"), torch.float64)
            logps = alone.logps(table.grid(np.arange(shape.vocabulary)))[0, :, 0]
            assert (logps.exp() / noise[step, row]).argmax() == made[cell, row, step]
        assert (made[cell, row, stop[cell, row] :] == 7).all()
    alone_ids, alone_total = model.compiled.sample(model.weights[1:2], prompts, noise, end, 7)
    assert torch.equal(alone_ids[0], ids[1]) and torch.equal(alone_total[0], total[1])


def test_weights_that_changed_after_a_pass_are_an_error() -> None:
    model = llama()
    scores = model.logps(grid())
    with torch.no_grad():
        model.weights.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scores.sum().backward()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (replace(USED, vocabulary=30), "token id 33 exceeds the model's vocabulary of 30"),
        (replace(USED, positions=90), "100 tokens exceed the model's 90 positions"),
    ],
)
def test_tokens_beyond_the_model_are_refused(shape: LlamaShape, message: str) -> None:
    model = llama(shape)
    assert model.compiled is not None
    prompt = np.array([3] * 89 + [33])
    one_sided = PackedRows(encoded(([*prompt, *[1] * 11], 30)))
    with pytest.raises(BadInput, match=message):
        model.logps(RowTable(one_sided, torch.device("cpu"), torch.float32).grid(np.array([0])))
    noise = torch.ones(11, 1, shape.vocabulary)
    with pytest.raises(BadInput, match=message):
        model.compiled.sample(model.weights, [prompt], noise, 1, 2)


def test_the_files_are_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        file
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert shipped >= {Path(str(source)) for source in compiled_llama.SOURCES}


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = llama()
    with torch.no_grad():
        expected = model.logps(grid())
    assert model.advice == ""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    # a shape that no test compiles before
    without = StackedLlama(replace(USED, positions=127), model.weights.detach())
    assert without.compiled is None and "compiler" in without.advice
    torch.testing.assert_close(without.logps(grid()), expected, rtol=1e-5, atol=1e-4)
