"""The results page is what the catalogue and the committed results give."""

import re
from pathlib import Path

import pandas as pd
import pytest

from experiments import results_page
from experiments.catalogue import CATALOGUE, Experiment
from experiments.results_page import RESULTS, page
from tests.helpers.configs import CONF

ENTRIES = [entry for entries in CATALOGUE.values() for entry in entries]
PRESETS = {path.stem for path in (CONF / "experiment").glob("*.yaml")}


def test_the_committed_page_is_the_generated_one() -> None:
    assert (RESULTS / "README.md").read_text() == page(RESULTS), (
        "run python -m experiments.results_page"
    )
    assert "No outcome" not in page(RESULTS)


def test_links_of_the_page_lead_somewhere() -> None:
    text = (RESULTS / "README.md").read_text()
    links = re.findall(r'\]\(([^)]+)\)|(?:href|src)="([^"]+)"', re.sub(r"`[^`]*`", "", text))
    assert len(links) > 20
    for link in map("".join, links):
        path, _, anchor = link.partition("#")
        assert (RESULTS / path).exists() and (not anchor or f'id="{anchor}"' in text), link


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_can_run(entry: Experiment) -> None:
    for program in entry.programs:
        assert (results_page.ROOT / f"{program.replace('.', '/')}.py").is_file()
    if entry.preset != "":
        assert (entry.preset or entry.name) in PRESETS
    assert not entry.shows.endswith(".")
    if entry.figure and (RESULTS / entry.name).is_dir():
        assert (RESULTS / entry.name / f"{entry.figure}.png").is_file()
    assert all((RESULTS / path).is_file() for path in entry.more)


def test_every_preset_is_on_the_page() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len({*names}) == len(names)
    assert {entry.preset or entry.name for entry in ENTRIES if entry.preset != ""} == PRESETS


def test_outcomes_are_read_from_claims(tmp_path: Path) -> None:
    folder = tmp_path / "lemma"
    folder.mkdir()
    rows = [("They are equal", "Lemma 1", "supported",
             "Supported: They are equal (Lemma 1): all lie within 2 points."),
            ("It is better", "", "undecided",
             "Undecided at this size: It is better: 1 of 4 is; a | b.")]  # fmt: skip
    columns = ["claim", "source", "outcome", "sentence"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "claims.csv", index=False)
    catalogue = {"Theory": [Experiment("lemma", "Noise is noise"), Experiment("later", "Not yet")]}
    text = page(tmp_path, catalogue=catalogue)
    (row,) = [line for line in text.splitlines() if "**Noise is noise" in line]
    assert "| [Noise is noise](#lemma) | 1 |  | 1 |  |" in text
    numbers = "<sub>all lie within 2 points.</sub>"
    assert f"<br>**Supported**: They are equal (Lemma 1): {numbers}" in row
    assert r"<br>**Undecided at this size**: It is better: <sub>1 of 4 is; a \| b.</sub>" in row
    assert "rules: 2, of which 1 supported, 0 contradicted, 1 undecided.**" in text
    assert "## Not run\n\n- Not yet. `python -m experiments.paper --only later`" in text


def test_a_small_page_has_no_outcomes(tmp_path: Path) -> None:
    folder = tmp_path / "flip_detection"
    folder.mkdir()
    claim = {"claim": "A", "source": "", "outcome": "supported", "sentence": "Supported: A: b."}
    pd.DataFrame([claim]).to_csv(folder / "claims.csv", index=False)
    text = page(tmp_path, "small", {"All": [Experiment("flip_detection", "Flips are found")]})
    assert "Supported" not in text and "not the basis of a conclusion" in text


def test_results_cut_short_give_no_outcome(tmp_path: Path) -> None:
    (entry,) = [entry for entry in ENTRIES if entry.name == "flip_detection"]
    (tmp_path / entry.name).mkdir()
    assert "No outcome: " in page(tmp_path, catalogue={"All": [entry]})
