"""Runs the cells of a task from their submitted settings."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from experiments.cells import prepare
from experiments.devices import reserved
from experiments.slurm.submissions import SubmittedCell
from sympo.pipelines.cell import Cell
from sympo.pipelines.result import RunResult
from sympo.pipelines.runner import run_cells
from sympo.types import BadInput

CHANGED = "its data or its code changed after it was submitted; run the command again"


def run_submitted(cells: Sequence[SubmittedCell]) -> list[RunResult]:
    """Run the cells of a task together; those that cannot run here fail with a sentence."""
    found: dict[int, RunResult] = {}
    ready: dict[int, Cell] = {}
    for place, one in enumerate(cells):
        try:
            cell = rebuilt(one)
        except BadInput as error:  # such as data that this node does not see
            found[place] = RunResult(one.cell, Path(one.folder), "failed", str(error))
            continue
        if str(cell.folder.path.absolute()) == one.folder:
            ready[place] = cell
        else:
            found[place] = RunResult(one.cell, Path(one.folder), "failed", CHANGED)
    with reserved([cell.device for cell in ready.values()]):
        results = run_cells(list(ready.values()))
    found |= dict(zip(ready, results, strict=True))
    return [found[place] for place in range(len(cells))]


def rebuilt(one: SubmittedCell) -> Cell:
    """The cell of submitted settings; raises BadInput if it cannot run here."""
    return prepare(OmegaConf.create(one.config), one.choices)


def ended(cell: Cell, reason: str, log: Path | None = None) -> RunResult:
    """The result of a cell whose task has ended without one: complete if its folder says so."""
    if cell.folder.completed_since(cell.since):
        return RunResult(str(cell.name), cell.folder.path, "complete")
    return RunResult(str(cell.name), cell.folder.path, "failed", reason, log)
