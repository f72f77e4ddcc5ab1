"""The result of running a cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["complete", "skipped", "busy", "failed"]


@dataclass(frozen=True)
class RunResult:
    """The result of running a cell; `busy` means that another process holds it.

    final: whether the failure would hit all other cells too.
    """

    cell: str
    folder: Path
    status: Status
    error: str = ""
    log: Path | None = None
    final: bool = False
