"""How long `python -m experiments.paper --size small` takes, each experiment of it.

    python -m experiments.benchmarks.paper_small --data FOLDER [--results FOLDER]

It runs into an empty folder, which is removed at the end, or into --results, where a second run
resumes. Times are those of whole commands, of start-up, checks, figures and tables, too. Seconds
are written to the CSV; programs that run no cells are left out, as in the command's own times.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from experiments.benchmarks.results import processor
from experiments.committed_results import ROOT
from sympo.analysis.csv import write_csv
from sympo.process import cores
from sympo.runs.provenance import git_commit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/paper_small.csv"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:
        results = (arguments.results or Path(empty)).resolve()
        command = [sys.executable, "-m", "experiments.paper", "--size", "small"]
        command += ["--data", str(arguments.data.resolve()), "--results", str(results)]
        if code := subprocess.run(command, cwd=ROOT).returncode:
            raise SystemExit(code)
        write_csv(times(results / "paper.json"), arguments.out)


def times(file: Path) -> pd.DataFrame:
    """A row for each experiment that ended, of the times that `experiments.paper` keeps."""
    rows = [
        {"experiment": name, "seconds": found["seconds"]}
        for name, found in json.loads(file.read_text())["small"].items()
        if found["done"]
    ]
    return pd.DataFrame(rows).assign(
        cores=cores(), device=processor(), git_commit=git_commit() or ""
    )


if __name__ == "__main__":
    main()
