"""What runs on a compute node: the cells of one task, until they end or SLURM wants the node back.

SLURM warns a task before its time limit by USR2, and a preempted or cancelled one by SIGTERM. The
task then saves a checkpoint after its next step and ends. After USR2 it is queued again through
submitit; after SIGTERM, SLURM queues it again if it was preempted and not if it was cancelled.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from omegaconf import OmegaConf

from experiments.cells import prepare
from experiments.slurm.submissions import Submission, SubmittedCell
from sympo.pipelines.cell import Cell
from sympo.pipelines.result import RunResult
from sympo.runs.stopping import Stopped, ask_to_stop
from sympo.types import BadInput

# SLURM kills a task this long after SIGTERM (KillWait), 30 by default, less what saving takes
SECONDS_AFTER_SIGTERM = 20.0


CHANGED = "its data or its code changed after it was submitted; run the command again"


class NotQueuedAgain(KeyboardInterrupt):
    """The task ran out of time and was not queued again; the message says why. Not an `Exception`:
    it may be raised inside training, whose failures are caught."""


@dataclass(frozen=True)
class ArrayTask:
    """A task of an array: all that submitit pickles.

    submission: its folder. number: the task's place in it. grace: seconds from the warning of the
        time limit to the latest moment for queueing the task again.
    """

    submission: str
    number: int
    grace: float

    def __call__(self) -> None:
        submission = Submission(Path(self.submission))
        cells = submission.cells()[self.number]
        try:
            with StopSignals(self.grace):
                found = run_submitted(cells)
        except NotQueuedAgain as error:
            reason = f"its SLURM task ran out of time: {error}; the same command resumes it"
            found = [ended(rebuilt(one), reason) for one in cells]
        submission.write_outcomes(self.number, found)

    def checkpoint(self) -> Any:
        """What submitit queues again: the same task, whose cells resume from their checkpoints."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def run_submitted(cells: Sequence[SubmittedCell]) -> list[RunResult]:
    """Run the cells of a task together; those that cannot run here fail with a sentence."""
    from sympo.pipelines.runner import run_cells

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
    found |= dict(zip(ready, run_cells(list(ready.values())), strict=True))
    return [found[place] for place in range(len(cells))]


def rebuilt(one: SubmittedCell) -> Cell:
    """The cell of submitted settings; raises BadInput if it cannot run here."""
    return prepare(OmegaConf.create(one.config), one.choices)


def ended(cell: Cell, reason: str, log: Path | None = None) -> RunResult:
    """The result of a cell whose task has ended without one: complete if its folder says so."""
    if cell.folder.completed_since(cell.since):
        return RunResult(str(cell.name), cell.folder.path, "complete")
    return RunResult(str(cell.name), cell.folder.path, "failed", reason, log)


class StopSignals:
    """While entered, SLURM's signals make training stop at its next checkpoint; then, or after the
    grace if no checkpoint comes, the task ends and is queued again."""

    def __init__(self, grace: float) -> None:
        import submitit

        self.warning = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
        self.grace = {self.warning: grace, signal.SIGTERM: SECONDS_AFTER_SIGTERM}
        self.first: int | None = None

    def __enter__(self) -> None:
        self.queue_again = signal.getsignal(self.warning)  # submitit's
        for number in self.grace:
            signal.signal(number, self._asked)
        signal.signal(signal.SIGALRM, lambda number, frame: self._end())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Stopped):
            self._end()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = number
            print(f"{signal.Signals(number).name}: stops at its next checkpoint", flush=True)
            ask_to_stop()
            signal.setitimer(signal.ITIMER_REAL, self.grace[signal.Signals(number)])

    def _end(self) -> None:
        if self.first == self.warning and callable(self.queue_again):
            try:
                self.queue_again(self.warning, None)
            except Exception as error:  # too often already, or SLURM refuses
                raise NotQueuedAgain(str(error)) from error
        sys.exit(128 + signal.SIGTERM)
