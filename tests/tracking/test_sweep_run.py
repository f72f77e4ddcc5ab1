"""The W&B run of a whole sweep, and the upload of offline runs."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from sympo.tracking import sync
from sympo.tracking.sweep import mirror_sweep
from tests.helpers.wandb_records import config_of, history_of, run_of, sent, summary_of

SETTINGS = {"mode": "offline", "project": "sympo", "entity": None, "group": "loss=ramp,logistic"}


def test_a_sweep_is_one_run_with_tables_figures_and_the_report(tmp_path: Path) -> None:
    report = tmp_path / "latest"
    report.mkdir()
    (report / "summary.csv").write_text("loss,noise,mean\nramp,0.1,0.9\nlogistic,0.1,\n")
    Image.new("L", (2, 2)).save(report / "accuracy_vs_noise.png")
    (report / "report.html").write_text("<p>report</p>")
    (report / "notes.txt").write_text("not ours")
    for _ in range(2):  # the second run replaces the first
        mirror_sweep(SETTINGS, tmp_path, report, {"command": "python run.py"}, {"cells/failed": 1})
    (place,) = (tmp_path / "wandb").iterdir()
    found = sent(place)
    assert run_of(found).job_type == "sweep"
    assert run_of(found).run_group == SETTINGS["group"]
    assert config_of(found)["command"] == "python run.py"
    assert summary_of(found)["cells/failed"] == 1
    shown = {name: value for step in history_of(found) for name, value in step.items()}
    run = next((place / "wandb").glob("offline-run-*"))
    table = json.loads((run / "files" / shown["report/summary/path"]).read_text())
    assert table["columns"] == ["loss", "noise", "mean"]
    assert table["data"] == [["ramp", 0.1, 0.9], ["logistic", 0.1, None]]
    assert "figures/accuracy_vs_noise/path" in shown
    (logged,) = [
        r.artifact for r in found if r.HasField("artifact") and r.artifact.type == "report"
    ]
    files = {entry.path for entry in logged.manifest.contents}
    assert files == {"summary.csv", "accuracy_vs_noise.png", "report.html"}


def offline_run(place: Path) -> Path:
    run = place / "wandb" / "offline-run-20260101_000000-abc"
    run.mkdir(parents=True)
    (run / "run-abc.wandb").touch()
    return run


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for seed in range(3):
        cell = tmp_path / "results/runs/policy/hh/ramp/noise=0.1" / f"seed={seed}-12345678"
        offline_run(cell)
    offline_run(tmp_path / "results/wandb/sweep-1234")
    return tmp_path / "results"


def marking(calls: list[Sequence[str]], broken: str = "none") -> Any:
    """`wandb sync` without a server: leaves W&B's marks."""

    def run(command: Sequence[str], **options: Any) -> None:
        assert options["stdin"] == subprocess.DEVNULL and "wandb" in command and "sync" in command
        calls.append(command)
        for path in map(Path, command[command.index("sync") + 1 :]):
            if broken not in str(path):
                (path / "run-abc.wandb.synced").touch()

    return run


def test_sync_uploads_each_run_once(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Sequence[str]] = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(sync, "_check_server", lambda: None)
    monkeypatch.setattr(subprocess, "run", marking(calls, broken="seed=2"))
    busy = results / "runs/policy/hh/ramp/noise=0.1/seed=1-12345678"
    with FileLock(busy / ".lock"):
        assert sync.main(["sync", str(results)]) == 1
    out = capsys.readouterr().out
    assert "2 of 3 offline runs uploaded" in out and "not uploaded: " in out and "seed=2" in out
    monkeypatch.setattr(subprocess, "run", marking(calls))
    assert sync.main(["sync", str(results)]) == 0
    assert "2 of 2 offline runs uploaded" in capsys.readouterr().out
    assert sync.main(["sync", str(results)]) == 0
    assert "0 of 0 offline runs uploaded" in capsys.readouterr().out
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "no API key is configured for https://api.wandb.ai: set WANDB_API_KEY"),
        (
            {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
            "http://127.0.0.1:9 does not answer: ",
        ),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "nonsense"}, "nonsense does not answer: "),
    ],
)
def test_sync_says_what_it_lacks(
    results: Path,
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sync.main(["sync", str(results)]) == 2
    assert f"error: {words}" in capsys.readouterr().err
