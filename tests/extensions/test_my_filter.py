"""The filter of docs/extending.md: one file and one YAML, in a sweep."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

HERE = Path(__file__).parent


def test_it_cleans_a_cell(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "run.py", "--config-dir", str(HERE / "conf"),
            "allow_external_targets=true", "noise=0.3",
            "filter=often_contradicted", "filter.action=flip", "filter.epochs=3", "job.epochs=3",
            f"results_dir={tmp_path}", "wandb.mode=disabled",
        ],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.rglob("summary.json")
    summary = json.loads(file.read_text())
    assert summary["config"]["filter"]["_identity_"] == "often_contradicted"
    # a third of the labels is wrong; what the filter doubts is wrong more often
    assert summary["last"]["train/filter_precision"] > 0.4
