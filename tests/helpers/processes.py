"""run.py by several processes of torchrun, as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def start_together(results: Path, processes: int, *arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"NETRC": str(results / "no-netrc"), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", str(processes), "run.py", *arguments, f"results_dir={results}"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run_together(results: Path, processes: int, *arguments: str) -> tuple[int, str, str]:
    process = start_together(results, processes, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def processes_of(results: Path) -> dict[int, int]:
    """The process ids of the running processes of a results folder, by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            ranks = [int(one[5:]) for one in variables if one.startswith(b"RANK=")]
            if f"results_dir={results}".encode() in words and ranks:
                found[ranks[0]] = int(folder.name)
    return found


def errors(said: str) -> list[str]:
    """What the processes say, without torchrun's own report."""
    return [line for line in said.splitlines() if line.startswith("error: ")]
