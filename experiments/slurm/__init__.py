"""Cells as tasks of SLURM job arrays: submitted by submitit, watched by squeue."""

from experiments.slurm.array_task import ArrayTask
from experiments.slurm.queue import TaskState, states
from experiments.slurm.sbatch import SlurmSettings, submit
from experiments.slurm.submissions import QueuedTask, Submission, submissions
from experiments.slurm.waiting import wait_for

__all__ = [
    "ArrayTask",
    "QueuedTask",
    "SlurmSettings",
    "Submission",
    "TaskState",
    "states",
    "submissions",
    "submit",
    "wait_for",
]
