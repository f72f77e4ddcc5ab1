"""Submits cells as the tasks of a SLURM job array, by submitit."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.cells import Planned
from experiments.slurm.array_task import ArrayTask
from experiments.slurm.submissions import Submission
from sympo.secrets import secret_in
from sympo.types import BadInput

ROOT = Path(__file__).parents[2]
# between the latest moment for queueing a task again and its time limit
SECONDS_TO_QUEUE_AGAIN = 30.0


@dataclass(frozen=True)
class SlurmSettings:
    """What to ask of SLURM for each task; see conf/hydra/launcher/submitit_slurm.yaml."""

    partition: str | None = None
    account: str | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int = 2
    mem_gb: float | None = None
    timeout_min: int = 240
    signal_delay_s: int = 120
    requeue: int = 10
    array_parallelism: int = 64
    cells_per_task: int = 1
    setup: Sequence[str] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "SlurmSettings":
        """The settings as given; raises BadInput if one is unknown or impossible."""
        names = [field.name for field in fields(cls)]
        for key in given:
            if key not in names:
                raise BadInput(
                    f"hydra.launcher.{key} is not a setting of the SLURM launcher; they are "
                    f"{', '.join(names)}; other options of sbatch go into additional_parameters"
                )
        if secret := secret_in(given):
            raise BadInput(
                f"hydra.launcher.{secret}, which the submitted script would keep; leave it in the "
                "environment, which SLURM passes on"
            )
        settings = cls(**given)
        settings._check()
        return settings

    def _check(self) -> None:
        least = {"cpus_per_task": 1, "timeout_min": 1, "signal_delay_s": 1, "requeue": 0,
                 "array_parallelism": 1, "cells_per_task": 1}  # fmt: skip
        if self.gpus_per_node is not None:
            least["gpus_per_node"] = 0
        for key, smallest in least.items():
            value = vars(self)[key]
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise _not_allowed(key, value, f"a whole number of at least {smallest}")
        if self.mem_gb is not None and not (
            isinstance(self.mem_gb, int | float) and self.mem_gb > 0
        ):
            raise _not_allowed("mem_gb", self.mem_gb, "a number above 0, or null")
        if self.signal_delay_s >= 60 * self.timeout_min:
            raise _not_allowed(
                "signal_delay_s", self.signal_delay_s,
                f"below the time limit, timeout_min={self.timeout_min}",
            )  # fmt: skip
        if isinstance(self.setup, str) or not all(isinstance(one, str) for one in self.setup):
            raise _not_allowed("setup", self.setup, "a list of shell commands")
        if not isinstance(self.additional_parameters, Mapping):
            raise _not_allowed(
                "additional_parameters", self.additional_parameters, "options of sbatch by name"
            )

    @property
    def grace(self) -> float:
        """Seconds from the warning of the time limit to the latest moment for queueing again."""
        return max(self.signal_delay_s - SECONDS_TO_QUEUE_AGAIN, self.signal_delay_s / 2)

    def parameters(self) -> dict[str, Any]:
        """The parameters of submitit's SLURM executor."""
        found = {
            "job_name": "sympo",
            "partition": self.partition,
            "account": self.account,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_task": self.cpus_per_task,
            "mem": None if self.mem_gb is None else f"{round(1024 * self.mem_gb)}M",
            "time": self.timeout_min,
            "signal_delay_s": self.signal_delay_s,
            "array_parallelism": self.array_parallelism,
            "stderr_to_stdout": True,
            # srun does not take it from sbatch since SLURM 22.05
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}"],
            "setup": [
                *self.setup,
                f"export OMP_NUM_THREADS={self.cpus_per_task}",
                f'export PYTHONPATH="{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"',
            ],
            "additional_parameters": {
                "requeue" if self.requeue else "no-requeue": True,
                **self.additional_parameters,
            },
        }
        return {key: value for key, value in found.items() if value is not None}


def check_installed() -> None:
    """Refuse a machine without submitit or SLURM's commands; raises BadInput."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise BadInput(
            "hydra/launcher=submitit_slurm needs submitit: pip install -e '.[slurm]'"
        ) from error
    if missing := [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]:
        raise BadInput(
            f"hydra/launcher=submitit_slurm needs SLURM's commands, but {', '.join(missing)} "
            "cannot be found: run it on a login node of the cluster"
        )


def submit(
    results_dir: str | Path, tasks: Sequence[Sequence[Planned]], settings: SlurmSettings
) -> Submission:
    """Submit tasks as one array; raises BadInput, with SLURM's message, if it is refused."""
    import submitit

    submission = Submission.new(results_dir, tasks)
    executor = submitit.SlurmExecutor(submission.folder, max_num_timeout=settings.requeue)
    executor.update_parameters(**settings.parameters())
    pickled = [
        ArrayTask(str(submission.folder), number, settings.grace) for number in range(len(tasks))
    ]
    try:
        with _outside_a_job():
            jobs = executor.submit_array(pickled)
    except submitit.core.utils.FailedJobError as error:
        shutil.rmtree(submission.folder)
        reason = " ".join(str(error).split())
        raise BadInput(f"SLURM refused the array (hydra.launcher.*): {reason}") from error
    submission.queued_as(jobs[0].job_id.partition("_")[0])
    return submission


@contextmanager
def _outside_a_job() -> Iterator[None]:
    """Hide the variables of the job in which this program runs, if it does: SLURM would take them
    for the new one's."""
    import submitit

    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    where = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with submitit.helpers.clean_env():
        os.environ.update(where)
        yield


def _not_allowed(key: str, value: object, rule: str) -> BadInput:
    return BadInput(f"hydra.launcher.{key}={value} is not allowed: it must be {rule}")
