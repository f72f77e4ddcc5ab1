"""A cell asked for with another sampler: its responses are drawn again, its policy is kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cells import run_cell
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY as SMALL

OTHER = "tests.pipelines.other_sampler.Other"


def run(results: Path, sampler: str | None = None) -> tuple[Path, dict[str, Any]]:
    config, choices = composed(*SMALL, f"results_dir={results}", "noise=0.2")
    if sampler:
        config.sampler._target_ = sampler
    result = run_cell(config, choices, wait=True)
    assert result.status in ("complete", "skipped"), result.error
    return result.folder, json.loads((result.folder / "summary.json").read_text())


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_sampled_again_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = run(tmp_path)
    weights = folder / "policy" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    samples = (folder / "samples" / "last.jsonl").read_text()
    (folder / "judges").mkdir()
    (folder / "judges" / "old.json").write_text('{"samples": {"last": {"digest": "1"}}}')

    again, after = run(tmp_path, OTHER)
    assert "drawn by sampler=transformers: they are drawn again" in capsys.readouterr().out
    assert (
        again == folder and (folder / "policy" / "model.safetensors").stat().st_mtime_ns == trained
    )
    assert after["config"]["sampler"] == {"_identity_": "other"}
    assert (folder / "samples" / "last.jsonl").read_text() != samples
    assert [file.suffix for file in (folder / "judges").iterdir()] == [".stale"]
    # what does not come from responses stays; the rest is new, and only where it is known
    for name, value in before["last"].items():
        if name.startswith(("test/", "train/", "validation/")):
            assert after["last"][name] == value
    assert after["last"]["policy/gold_reward"] != before["last"]["policy/gold_reward"]
    lines = history(folder)
    assert lines[0]["policy/win_rate"] is None and lines[0]["test/implicit_accuracy"] is not None
    assert lines[-1]["policy/win_rate"] == after["last"]["policy/win_rate"]

    stages = sorted(path.name.split("-")[0] for path in (tmp_path / "stages").iterdir())
    assert stages.count("pairs") == 1 and stages.count("sft") == 1
    assert run(tmp_path, OTHER)[1] == after
    assert "complete already" in capsys.readouterr().out


def test_without_its_weights_it_is_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = run(tmp_path)
    for file in (folder / "policy").iterdir():
        file.unlink()
    (folder / "policy").rmdir()
    _, after = run(tmp_path, OTHER)
    assert "its weights were not kept (job.save_policy=true keeps them)" in capsys.readouterr().out
    assert after["config"]["sampler"]["_identity_"] == "other"
    assert all(line["policy/win_rate"] is not None for line in history(folder))
