"""The notebooks run as they are, on whatever results the checkout holds."""

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

RESULTS = [
    "mnist_paper_grid", "digits_accuracy_vs_noise", "gold_language_win_rate", "high_noise_policies",
    "rank_preservation", "rank_to_policy", "lemma1", "finite_samples",
]  # fmt: skip


def figures_of(name: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The metadata of the figures that a notebook draws."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the kernel, where sympo is not installed
    notebook: Any = nbformat.read(ROOT / "notebooks" / name, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not stored"
    where = {"metadata": {"path": str(ROOT / "notebooks")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["metadata"] for output in outputs if "image/png" in output.get("data", {})]


def test_figures_notebook_draws_every_result(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [figure["results"] for figure in figures_of("figures.ipynb", monkeypatch)]
    assert list(dict.fromkeys(drawn)) == RESULTS


def test_theory_notebook_draws_what_it_asserts(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [figure["figure"] for figure in figures_of("theory.ipynb", monkeypatch)]
    assert drawn == ["losses", "families", "lemma", "ranks", "cpe"]
