"""What became of a cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["complete", "skipped", "busy", "failed"]


@dataclass(frozen=True)
class RunResult:
    """What became of a cell: `busy` means that another process works on it.

    final: what made it fail would make all the others fail.
    """

    cell: str
    folder: Path
    status: Status
    error: str = ""
    log: Path | None = None
    final: bool = False
