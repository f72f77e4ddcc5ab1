"""Keys and passwords are refused in settings, and left out of whatever is written."""

import json
from pathlib import Path

import pytest

from experiments.cells import prepare, run_cell
from experiments.report import cell_provenance, command
from sympo.analysis import Collection
from sympo.runs.folder import RunFolder
from sympo.secrets import redacted, secret_in
from sympo.types import BadInput
from tests.helpers.commands import SMALL_IMAGES
from tests.helpers.configs import composed

PLANTED = {
    "OPENAI_API_KEY": "sk-proj-Planted0penAIkey0123456789",
    "WANDB_API_KEY": "planted0wandb0key0123456789",
    "HF_TOKEN": "hf_Planted0Token0OfTheHub0123456789",
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return PLANTED


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("paper_values=x/{OPENAI_API_KEY}", "paper_values holds the value of OPENAI_API_KEY"),
        ("wandb.project={WANDB_API_KEY}", "wandb.project holds the value of WANDB_API_KEY"),
        ("report.claims=[{HF_TOKEN}]", "report.claims[0] holds the value of HF_TOKEN"),
        ("wandb.entity=${{oc.env:HF_TOKEN}}", "wandb.entity holds the value of HF_TOKEN"),
        ("paper_values='https://me:pass1@host/x'", "paper_values holds an address with a password"),
        ("wandb.group=sk-0123456789abcdefABCDEF", "wandb.group holds what looks like an API key"),
    ],
)
def test_a_key_in_a_setting_is_refused_and_not_repeated(
    planted: dict[str, str], override: str, words: str
) -> None:
    with pytest.raises(BadInput) as error:
        prepare(*composed(override.format(**planted)))
    text = str(error.value)
    assert text == f"{words}, which results would keep; leave it in the environment"


def test_what_is_not_a_key_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "EMPTY")  # a placeholder
    for value in ("sk-learn-data-of-the-year-2024", "s3://bucket/a@b", "http://host:80/x", "EMPTY"):
        assert not secret_in({"a": [value]}) and redacted("EMPTY s3://b/a@b") == "EMPTY s3://b/a@b"


def test_no_file_of_a_run_holds_a_key(
    planted: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that completes and one that fails with the keys in its error, and their report."""
    results = tmp_path / "results"
    here = [*SMALL_IMAGES, "job.epochs=1", f"results_dir={results}", "wandb.mode=offline"]
    one = run_cell(*composed(*here), wait=False)
    assert one.status == "complete"

    def fails(*_: object, **__: object) -> None:
        raise OSError(f"no access with {' '.join(planted.values())} to https://me:secret@host/x")

    monkeypatch.setattr(RunFolder, "finish", fails)
    other = run_cell(*composed(*here, "seed=1"), wait=False)
    assert other.status == "failed"
    log = (other.folder / "error.log").read_text()
    assert "no access with [key] [key] [key] to https://[key]@host/x" in log
    (results / "latest").mkdir()
    Collection.from_runs([one.folder, other.folder]).write(results / "latest")
    name, text = cell_provenance([f"wandb.group={planted['HF_TOKEN']}"], [one.folder])
    (results / "latest" / name).write_text(text)
    assert json.loads(text)["command"] == "python run.py -m wandb.group=[key]"
    files = [file for file in results.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"config.yaml", "summary.json", "error.log", "cells.csv", "provenance.json"} <= names
    assert any(file.suffix == ".wandb" for file in files)
    for file in files:
        content = file.read_bytes()
        for secret in (*planted.values(), "me:secret@"):
            assert secret.encode() not in content, file
    assert planted["HF_TOKEN"] not in command("", [f"runs={planted['HF_TOKEN']}"])
