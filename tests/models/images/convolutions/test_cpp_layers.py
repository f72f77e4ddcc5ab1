"""The default network works without the C++ file and without a compiler."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sympo.models.images.cnn import CNN
from sympo.models.images.convolutions import cpp_layers
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpp_layers.convolutions.cache_clear()
    yield
    cpp_layers.convolutions.cache_clear()


def rewards() -> tuple[torch.Tensor, str]:
    """Of some images, and the model's advice."""
    model = CNN().build((28, 28), [0], [2])
    images = torch.rand(1, 5, 28, 28, generator=torch.Generator().manual_seed(0))
    return model.eval()(images), model.advice


def test_the_file_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = settings["package-data"]["sympo.models.images.convolutions"]
    assert cpp_layers.SOURCE.name in package and cpp_layers.SOURCE.is_file()


def test_without_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected, _ = rewards()
    cpp_layers.convolutions.cache_clear()
    monkeypatch.setattr(cpp_layers, "SOURCE", tmp_path / "convolutions.cpp")
    found, advice = rewards()
    torch.testing.assert_close(found, expected)
    assert "compiler" in advice


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = rewards()
    cpp_layers.convolutions.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    found, advice = rewards()
    torch.testing.assert_close(found, expected)
    assert "compiler" in advice
