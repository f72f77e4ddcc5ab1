"""The time that `dry_run=true` estimates against the time that the sweep then takes.

    python -m experiments.benchmarks.estimates [--data FOLDER] [--only NAME ...]

Each sweep is one command, first with dry_run=true and then without, in an empty results folder, so
that stages are made, too. The time is that of the whole command without figures, so that it has 8
to 12 s of start-up that the estimate has not. --data holds MNIST/raw, hh-rlhf and gpt2_tokenizer;
sweeps that need it are left out without. Rows are added to or replaced in the CSV, so that sweeps
can be timed one by one. Other work on the machine, if it changes meanwhile, changes the ratio.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from experiments.benchmarks.results import processor
from sympo.analysis.csv import write_csv
from sympo.runs.provenance import git_commit

ROOT = Path(__file__).parents[2]
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
COLUMNS = ["sweep", "command", "estimated_seconds", "seconds", "ratio", "device", "git_commit"]


@dataclass(frozen=True)
class Sweep:
    """A sweep by its overrides; data: settings that name folders, by their paths below --data."""

    overrides: str
    data: Mapping[str, str] = field(default_factory=dict)


HH = {"dataset.path": "hh-rlhf"}
SWEEPS = {
    "digits reward models": Sweep("loss=ramp,sigmoid,logistic noise=0.1,0.4 seed=range(40)"),
    "MNIST reward models": Sweep(
        "dataset=mnist loss=ramp,logistic noise=0.4 job.epochs=40", {"dataset.path": "."}
    ),
    "embedded language policies": Sweep("job=policy loss=ramp,logistic noise=0.3 seed=0,1,2"),
    "HH reward models from scratch": Sweep(
        "experiment=hh_reward_accuracy model=tiny_reward loss=ramp,logistic noise=0.4 seed=0,1",
        {**HH, "model.tokenizer_path": "gpt2_tokenizer"},
    ),
    "HH reward models, MiniLM": Sweep(
        "experiment=minilm_hh_reward size=medium loss=logistic noise=0 seed=0", HH
    ),
    "HH policies, SmolLM2": Sweep("experiment=smollm2_hh size=medium loss=ramp noise=0 seed=0", HH),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/estimates.csv"))
    arguments = parser.parse_args()
    for name in arguments.only:
        if SWEEPS[name].data and not arguments.data:
            print(f"{name}: left out, since it needs --data")
            continue
        row = timed(name, SWEEPS[name], arguments.data)
        print(f"{name}: estimated {row['estimated_seconds']} s, took {row['seconds']} s")
        keep(row, arguments.out)


def timed(name: str, sweep: Sweep, data: Path | None) -> dict[str, str]:
    """The row of a sweep."""
    overrides = ["-m", *sweep.overrides.split(), "wandb.mode=disabled", "figures=false"]
    if data:
        overrides += [f"{key}={(data / path).resolve()}" for key, path in sweep.data.items()]
    with tempfile.TemporaryDirectory() as folder:
        own = [*overrides, f"results_dir={folder}", f"report_dir={folder}/report"]
        estimate = seconds_in_all(command([*own, "dry_run=true"]))
        start = time.perf_counter()
        command(own)
        took = time.perf_counter() - start
    shown = " ".join([sweep.overrides, *(f"{key}=FOLDER" for key in sweep.data)])
    values = f"{estimate:.3g}", f"{took:.3g}", f"{took / estimate:.2f}"
    found = [name, f"python run.py -m {shown}", *values, processor(), git_commit() or ""]
    return dict(zip(COLUMNS, found, strict=True))


def command(overrides: list[str]) -> str:
    """What `run.py` prints; ends the program with its message if it fails."""
    done = subprocess.run(
        [sys.executable, "run.py", *overrides], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def seconds_in_all(printed: str) -> float:
    """The seconds of `about 2 h 5 min in all`."""
    found = re.findall(r"^about (.+) in all", printed, re.MULTILINE)
    parts = re.findall(r"([\d.]+) (h|min|s)\b", found[-1])
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def keep(row: dict[str, str], path: Path) -> None:
    """Add a row to the CSV, in place of an older one of its sweep."""
    older: list[dict[str, str]] = []
    if path.is_file():
        older = pd.read_csv(path, dtype=str).to_dict("records")  # type: ignore[assignment]
    rows = {one["sweep"]: one for one in [*older, row]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(pd.DataFrame([rows[name] for name in SWEEPS if name in rows]), path)


if __name__ == "__main__":
    main()
