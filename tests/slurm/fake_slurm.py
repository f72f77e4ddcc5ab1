"""SLURM's commands as scripts that answer what a test wants."""

import os
from pathlib import Path

import pytest


class FakeSlurm:
    """A folder of commands, first on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "commands"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        self.answers("sbatch", "Submitted batch job 12")
        self.answers("squeue", "")
        self.answers("srun", "")

    def answers(self, command: str, text: str, code: int = 0) -> None:
        answer = self.folder / f"{command}.txt"
        answer.write_text(text + "\n" * bool(text))
        stream = " >&2" * bool(code)
        script = self.folder / command
        script.write_text(f"#!/bin/sh\ncat '{answer}'{stream}\nexit {code}\n")
        script.chmod(0o755)
