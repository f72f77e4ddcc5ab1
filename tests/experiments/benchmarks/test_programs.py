"""Every benchmark can be started: its imports exist, and it says what it does."""

import importlib
import pkgutil

import pytest

from experiments import benchmarks

NAMES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"experiments.benchmarks.{name}")
    assert module.__doc__
    if hasattr(module, "main"):
        assert f"python -m experiments.benchmarks.{name}" in module.__doc__
