"""The documentation is built as a site, where warnings are errors."""

import logging
import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place)))
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
    assert not said
    return place


def test_pages_are_linked_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert "tutorials/first_sweep.html" in home and "results/index.html" in home
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="https?:', text
        )


def test_results_have_their_figures(site: Path) -> None:
    text = (site / "results" / "index.html").read_text()
    figures = re.findall(r'<img src="([^"]+)"', text)
    assert figures and all((site / "results" / figure).is_file() for figure in figures)


def test_reference_has_formulas_and_sources(site: Path) -> None:
    losses = (site / "reference" / "losses.html").read_text()
    assert "sympo.losses.symmetric.Ramp" in losses and "Source:" in losses


def test_links_to_sources_are_paths(site: Path) -> None:
    assert "<code>sympo/identity.py</code>" in (site / "architecture.html").read_text()
