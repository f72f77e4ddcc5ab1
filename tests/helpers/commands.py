"""run.py as a user runs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

# small enough for a test; the same code and data as the default
SMALL_IMAGES = ["job.epochs=2", "dataset.train_pairs=300", "dataset.validation_pairs=300",
         "dataset.test_pairs=1000", "job.evaluate_every=1", "draw=false"]  # fmt: skip


def start(results: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"NETRC": str(results / "no-netrc"), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "run.py", *arguments, f"results_dir={results}"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(results: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(results, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def cells(results: Path) -> dict[str, Path]:
    found = sorted(results.glob("runs/*/*/*/*/*"))
    return {"/".join(path.parts[-3:]).rsplit("-", 1)[0]: path for path in found}
