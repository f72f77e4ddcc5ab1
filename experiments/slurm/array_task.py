"""What runs on a compute node: the cells of one task, until they end or SLURM wants the node back.

SLURM warns a task before its time limit by USR2, and a preempted or cancelled one by SIGTERM. The
task then saves a checkpoint after its next step and ends. After USR2 it is queued again through
submitit; after SIGTERM, SLURM queues it again if it was preempted and not if it was cancelled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

# light, because until this is unpickled the signals would kill the task
from experiments.slurm.stop_signals import NotQueuedAgain, StopSignals


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
        try:
            with StopSignals(self.grace):
                self._run()
        except NotQueuedAgain as error:
            self._give_up(f"its SLURM task ran out of time: {error}")

    def _run(self) -> None:
        from experiments.slurm.submissions import Submission
        from experiments.slurm.submitted_cells import run_submitted

        submission = Submission(Path(self.submission))
        submission.write_outcomes(self.number, run_submitted(submission.cells()[self.number]))

    def _give_up(self, reason: str) -> None:
        from experiments.slurm.submissions import Submission
        from experiments.slurm.submitted_cells import ended, rebuilt

        submission = Submission(Path(self.submission))
        sentence = f"{reason}; the same command resumes it"
        found = [ended(rebuilt(one), sentence) for one in submission.cells()[self.number]]
        submission.write_outcomes(self.number, found)

    def checkpoint(self) -> Any:
        """What submitit queues again: the same task, whose cells resume from their checkpoints."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)
