"""A new sampler draws a cell's responses again and keeps its policy."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cells import run_cell
from sympo.runs.folder import RunFolder
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY as SMALL

OTHER = "tests.pipelines.other_sampler.Other"
ALLOW = "allow_external_targets=true"


def run(results: Path, sampler: str | None = None) -> tuple[Path, dict[str, Any]]:
    config, choices = composed(*SMALL, f"results_dir={results}", "noise=0.2", ALLOW)
    if sampler:
        config.sampler._target_ = sampler
    result = run_cell(config, choices, wait=True)
    assert result.status in ("complete", "skipped"), result.error
    return result.folder, json.loads((result.folder / "summary.json").read_text())


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_new_sampler_samples_again_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = run(tmp_path)
    weights = folder / "policy" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    samples = (folder / "samples" / "last.jsonl").read_text()
    (folder / "judges").mkdir()
    (folder / "judges" / "old.json").write_text('{"samples": {"last": {"digest": "1"}}}')

    again, after = run(tmp_path, OTHER)
    assert "drawn by sampler=transformers; sampling again" in capsys.readouterr().out
    assert (
        again == folder and (folder / "policy" / "model.safetensors").stat().st_mtime_ns == trained
    )
    assert after["config"]["sampler"] == {"_identity_": "other"}
    assert (folder / "samples" / "last.jsonl").read_text() != samples
    assert [file.suffix for file in (folder / "judges").iterdir()] == [".stale"]
    # metrics that do not depend on responses stay; the others are new, or null if unknown
    for name, value in before["last"].items():
        if name.startswith(("test/", "train/", "validation/")):
            assert after["last"][name] == value
    assert after["last"]["policy/gold_reward"] != before["last"]["policy/gold_reward"]
    lines, kept = history(folder), (after["selected"]["epoch"], after["last"]["epoch"])
    others = [line for line in lines if line["epoch"] not in kept]
    assert others and all(line["policy/win_rate"] is None for line in others)
    assert all(line["test/implicit_accuracy"] is not None for line in lines)
    assert lines[-1]["policy/win_rate"] == after["last"]["policy/win_rate"]

    stages = sorted(path.name.split("-")[0] for path in (tmp_path / "stages").iterdir())
    assert stages.count("pairs") == 1 and stages.count("sft") == 1
    assert run(tmp_path, OTHER)[1] == after
    assert "already complete" in capsys.readouterr().out


def test_damaged_weights_are_not_sampled_from(tmp_path: Path) -> None:
    folder, _ = run(tmp_path)
    weights = folder / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    config, choices = composed(*SMALL, f"results_dir={tmp_path}", "noise=0.2", ALLOW)
    config.sampler._target_ = OTHER
    result = run_cell(config, choices, wait=True)
    assert result.status == "failed"
    assert f"{weights} differs from what its run saved: " in result.error


def test_a_kill_while_responses_are_replaced_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run(tmp_path)
    weights = folder / "policy" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "_take_over_unfinished", lambda _: 1 / 0)
        config, choices = composed(*SMALL, f"results_dir={tmp_path}", "noise=0.2", ALLOW)
        config.sampler._target_ = OTHER
        assert run_cell(config, choices, wait=True).status == "failed"
    _, after = run(tmp_path, OTHER)
    assert after["config"]["sampler"]["_identity_"] == "other"
    assert weights.stat().st_mtime_ns == trained and not (folder / "unfinished").exists()


def test_a_new_sampler_trains_again_without_saved_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = run(tmp_path)
    for file in (folder / "policy").iterdir():
        file.unlink()
    (folder / "policy").rmdir()
    _, after = run(tmp_path, OTHER)
    assert "its weights were not saved (job.save_policy=true saves them)" in capsys.readouterr().out
    assert after["config"]["sampler"]["_identity_"] == "other"
    assert all(line["policy/win_rate"] is not None for line in history(folder))
