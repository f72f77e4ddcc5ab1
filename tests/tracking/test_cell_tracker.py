"""Tests with real, offline W&B: sent records are read back from the file that it wrote."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sympo.identity import Identity
from sympo.runs.folder import CellName, RunFolder
from sympo.runs.tracking import Tracker, hint, resolve_mode
from sympo.types import BadInput
from tests.helpers.wandb_records import records

NAME = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
CONFIG = {"noise": 0.3, "seed": 0, "dataset": {"train_pairs": 10}}

SETTINGS = {"mode": "offline", "project": "sympo", "entity": None, "group": "sweep-1"}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path, NAME, Identity(CONFIG))
    run.path.mkdir(parents=True, exist_ok=True)
    return run


def sent(run: RunFolder) -> list[Any]:
    files = list((run.path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 1, files
    # W&B's service writes the file, which may take a moment on a busy machine
    deadline = time.monotonic() + 20
    while True:
        found = list(records(files[0]))
        if any(record.HasField("exit") for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


SUMMARY = {"last": {"a": 0.7}, "selected": {"a": 0.6}, "hash": "x", "git_commit": "y"}


@pytest.mark.parametrize("summary", [SUMMARY, None], ids=["complete", "failed"])
def test_offline_run_holds_all_records(tmp_path: Path, summary: dict[str, Any] | None) -> None:
    run = folder(tmp_path)
    tracker = Tracker(run, SETTINGS, CONFIG)
    tracker.log(5, {"test/order_accuracy": 0.5, "train/flipped_memorised": None})
    tracker.log(10, {"test/order_accuracy": 0.75})
    tracker.finish(summary)

    found = sent(run)
    (begun,) = [r.run for r in found if r.HasField("run")]
    assert begun.run_group == "sweep-1" and begun.project == "sympo"
    assert begun.job_type == "reward_model" and begun.display_name == str(NAME)
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert config["noise"] == 0.3 and config["dataset"]["train_pairs"] == 10
    history = [
        {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item}
        for r in found
        if r.HasField("history")
    ]
    assert [(h["epoch"], h["test/order_accuracy"]) for h in history] == [(5, 0.5), (10, 0.75)]
    assert "train/flipped_memorised" not in history[0]
    (ended,) = [r.exit.exit_code for r in found if r.HasField("exit")]
    assert ended == (0 if summary else 1)


def test_a_rerun_replaces_the_run_of_its_cell(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        tracker = Tracker(folder(tmp_path), SETTINGS, CONFIG)
        tracker.log(5, {"a": 1.0})
        tracker.finish(None)
        found = sent(folder(tmp_path))  # one file: the earlier one was removed
        ids += [r.run.run_id for r in found if r.HasField("run")]
    assert ids[0] == ids[1]


def test_auto_is_disabled_without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve_mode("auto") == "disabled"
    assert "wandb.mode=offline" in (hint("auto") or "")
    assert hint("disabled") is None
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_mode("auto") == "online"
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    assert resolve_mode("auto") == "online"


def test_impossible_modes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"online needs an API key.*offline"):
        resolve_mode("online")
    with pytest.raises(BadInput, match=r"wandb.mode=on is not known: use one of auto"):
        resolve_mode("on")


def test_an_unreachable_server_does_not_stop_a_cell(tmp_path: Path, root: Path) -> None:
    """With a key configured and the connection refused, the run continues without W&B."""
    code = f"""
import sympo.runs.tracking as tracking
from tests.runs.test_tracking import CONFIG, SETTINGS, SUMMARY, folder
from pathlib import Path
tracking.SECONDS_TO_CONNECT = 3
tracker = tracking.Tracker(folder(Path({str(tmp_path)!r})), {{**SETTINGS, "mode": "auto"}}, CONFIG)
tracker.log(1, {{"a": 1.0}})
tracker.finish(SUMMARY)
print("continued")
"""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=150)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "continued" in done.stdout
    assert "W&B disabled: " in done.stderr
