"""Tests with real, offline W&B: what was sent is read back from the file that it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.cells import prepare
from sympo.analysis import Collection
from sympo.identity import Identity
from sympo.pipelines.progress import Silent
from sympo.pipelines.runner import run_cells
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName
from sympo.tracking import Tracker
from sympo.tracking.cell import RECORDED_BY_POLICIES
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY
from tests.helpers.wandb_records import config_of, history_of, run_of, sent, summary_of

NAME = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
CONFIG = {
    "noise": 0.3,
    "seed": 0,
    "figures": True,
    "dataset": {"train_pairs": 10},
    "progress": {"differs": {"loss": "ramp", "noise": "0.3", "job.learning_rate": "0.01"}},
}
SETTINGS = {"mode": "offline", "project": "sympo", "entity": None, "group": "loss=ramp,logistic"}
SUMMARY = {"last": {"epoch": 10, "a": 0.7, "none": None}, "selected": {"epoch": 5, "a": 0.6},
           "outcomes": {"last": {}}, "git_commit": "y"}  # fmt: skip


def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path, NAME, Identity(CONFIG))
    run.path.mkdir(parents=True, exist_ok=True)
    return run


@pytest.mark.parametrize("summary", [SUMMARY, None], ids=["complete", "failed"])
def test_a_cell_can_be_read_in_wandb(tmp_path: Path, summary: dict[str, Any] | None) -> None:
    run = folder(tmp_path)
    tracker = Tracker(run, SETTINGS, CONFIG)
    tracker.log(5, {"test/order_accuracy": 0.5, "train/flipped_memorised": None})
    tracker.log(10, {"test/order_accuracy": 0.75})
    tracker.finish(summary)

    found = sent(run.path)
    begun = run_of(found)
    assert begun.run_group == "loss=ramp,logistic" and begun.project == "sympo"
    assert begun.job_type == "reward_model"
    assert begun.display_name == "ramp noise=0.3 job.learning_rate=0.01"  # only what differs
    config = config_of(found)
    assert config["loss"] == "ramp" and config["dataset"] == "digits" and config["noise"] == 0.3
    assert config["filter"] == "none" and config["settings"]["dataset"]["train_pairs"] == 10
    assert "progress" not in config["settings"]
    axes = {(r.metric.name or r.metric.glob_name): r.metric for r in found if r.HasField("metric")}
    assert axes["*"].step_metric == "epoch" and axes["epoch"].options.hidden
    history = history_of(found)
    assert [(h["epoch"], h["test/order_accuracy"]) for h in history] == [(5, 0.5), (10, 0.75)]
    assert "train/flipped_memorised" not in history[0]
    reported = {k: v for k, v in summary_of(found).items() if k.startswith(("last/", "selected/"))}
    whole = {"last/epoch": 10, "last/a": 0.7, "selected/epoch": 5, "selected/a": 0.6}
    assert reported == (whole if summary else {})
    (ended,) = [r.exit.exit_code for r in found if r.HasField("exit")]
    assert ended == (0 if summary else 1)


def test_a_rerun_replaces_the_run_of_its_cell(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        tracker = Tracker(folder(tmp_path), SETTINGS, CONFIG)
        tracker.log(5, {"a": 1.0})
        tracker.finish(None)
        ids.append(run_of(sent(folder(tmp_path).path)).run_id)  # one file: the earlier is gone
    assert ids[0] == ids[1]


def test_a_policy_brings_verdicts_samples_and_its_panel(tmp_path: Path) -> None:
    for mode, judge in (("disabled", []), ("offline", ["judge=gold"])):  # judged later: mirrored
        settings = [*SMALL_POLICY, *judge, "loss=logistic", "noise=0.2", f"results_dir={tmp_path}"]
        cell = prepare(*composed(*settings, f"wandb.mode={mode}"))
        (result,) = run_cells([cell], screen=Silent())
        assert result.status in ("complete", "skipped"), result.error
    place = cell.folder.path
    found = sent(place)
    (ended,) = [r.exit.exit_code for r in found if r.HasField("exit")]
    assert ended == 0

    row = Collection.from_runs([place]).cells.iloc[0].dropna().to_dict()
    expected = {k: v for k, v in row.items() if k.startswith(("last/", "selected/"))}
    summary = summary_of(found)
    assert "last/judge/gold/win_rate" in expected
    assert {name: summary[name] for name in expected} == pytest.approx(expected)

    history, run = history_of(found), next((place / "wandb").glob("offline-run-*"))
    (table,) = [step for step in history if "samples/path" in step]
    shown = json.loads((run / "files" / table["samples/path"]).read_text())
    lines = [json.loads(text) for text in (place / "samples" / "last.jsonl").open()]
    columns = dict(zip(shown["columns"], zip(*shown["data"], strict=True), strict=True))
    assert columns["prompt"] == tuple(line["prompt"] for line in lines)
    assert columns["policy"] == tuple(line["policy"] for line in lines)
    won = {"policy": 1.0, "tie": 0.5}
    for column, metric in (
        ("verdict of the true reward", "policy/win_rate"),
        ("verdict of gold against chosen", "judge/gold/win_rate"),
    ):
        scores = [won.get(verdict, 0.0) for verdict in columns[column]]
        assert sum(scores) / len(scores) == pytest.approx(row[f"last/{metric}"]), column
    (panel,) = [step for step in history if "training_panel/path" in step]
    assert (run / "files" / panel["training_panel/path"]).read_bytes()[1:4] == b"PNG"
    assert table["epoch"] == panel["epoch"] == 2


@pytest.mark.parametrize("figures", [True, False])
def test_a_panel_is_drawn_if_figures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: bool
) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(Tracker, "_log_panel", lambda self, epoch: drawn.append(epoch))
    tracker = Tracker(folder(tmp_path), SETTINGS, CONFIG | {"figures": figures})
    tracker.finish(SUMMARY | {"last": {"epoch": 10, RECORDED_BY_POLICIES: -1.0}})
    assert drawn == [10] * figures


UNREACHABLE = """
import sys
import sympo.tracking.session as session
from tests.tracking.test_cell_tracker import CONFIG, SETTINGS, folder
from sympo.tracking import Tracker
from pathlib import Path
session.SECONDS_TO_CONNECT = 3
for _ in range(2):
    tracker = Tracker(folder(Path(sys.argv[1])), {**SETTINGS, "mode": "auto"}, CONFIG)
    tracker.log(1, {"a": 1.0})
    tracker.finish(None)
print("continued")
"""


def test_an_unreachable_server_does_not_stop_a_cell(tmp_path: Path, root: Path) -> None:
    """With a key, a terminal and a refused connection, runs are kept offline, with one sentence and
    no question."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    terminal, end = os.openpty()
    done = subprocess.run([sys.executable, "-c", UNREACHABLE, str(tmp_path)], cwd=root,
                          env=environment, text=True, capture_output=True, stdin=end,
                          timeout=150)  # fmt: skip
    os.close(terminal), os.close(end)
    assert done.returncode == 0, done.stderr
    assert "continued" in done.stdout
    assert done.stderr.count("W&B") == done.stderr.count("runs are kept offline") == 1, done.stderr
    assert history_of(sent(folder(tmp_path).path))[0]["a"] == 1.0
