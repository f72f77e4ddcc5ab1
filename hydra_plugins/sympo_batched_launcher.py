"""Hydra launcher that trains the cells of a sweep in batches when they can share their passes.

The results equal those of launching one by one, in less time. Cells of jobs that share nothing,
such as policies, run one after another.
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from sympo.types import BadInput

if TYPE_CHECKING:
    from experiments.cells import Planned
    from sympo.pipelines.result import RunResult


class BatchedLauncher(Launcher):
    """Runs the cells of a sweep in as few batches as memory allows.

    most_cells: the most cells in a batch; None picks the fastest number on a CPU, and as many as
        fit in memory on a GPU.
    processes: how many processes share the batches, the CPU's cores and the reserved GPUs; None
        picks one per CPU core if that saves time, and one per free GPU for cells that are trained
        alone.
    """

    def __init__(self, most_cells: int | None = None, processes: int | None = None) -> None:
        super().__init__()
        self.most_cells, self.processes = most_cells, processes

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        for key in ("most_cells", "processes"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise BadInput(
                    f"hydra.launcher.{key}={value} is not allowed: it must be a whole number of at "
                    "least 1, or null"
                )
        self.loader, self.config = hydra_context.config_loader, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        from experiments import batches, devices
        from sympo.pipelines.progress import Terminal
        from sympo.pipelines.runner import run_cells

        planned = [planned_cell(self.loader, self.config, one) for one in job_overrides]
        screen = Terminal(sys.stdout)
        found: list[Any] = [None] * len(planned)
        processes = self.processes or batches.useful_processes(planned, devices.count())
        if any(one.cell.judge is not None or one.cell.distributed for one in planned):
            processes = 1  # the judge's cost is counted in one process; cells are trained by all
        named = [one.cell.device for one in planned]
        with devices.reserved(named, processes, partial(screen.line, 0)) as taken:
            if taken and not self.processes:
                processes = min(processes, len(taken))
            groups = batches.batches(planned, self.most_cells, processes)
            cells = [[planned[number] for number in group] for group in groups]
            batches.number(cells)
            if min(processes, len(groups)) > 1:
                outcomes = batches.run_in_processes(
                    cells, min(processes, len(groups)), screen, taken
                )
            else:
                outcomes = [
                    run_cells([one.cell for one in batch], len(groups) - place, screen)
                    for place, batch in enumerate(cells, 1)
                ]
        for group, ended in zip(groups, outcomes, strict=True):
            for number, outcome in zip(group, ended, strict=True):
                found[number] = outcome
        return job_returns(job_overrides, found)


def job_returns(
    job_overrides: Sequence[Sequence[str]], found: Sequence["RunResult"]
) -> list[JobReturn]:
    """The results of jobs as Hydra expects them."""
    returns = [JobReturn(overrides=list(overrides)) for overrides in job_overrides]
    for job, outcome in zip(returns, found, strict=True):
        job.return_value, job.status = outcome, JobStatus.COMPLETED
    return returns


def planned_cell(loader: Any, config: DictConfig, overrides: Sequence[str]) -> "Planned":
    """The checked cell of a job. loader: Hydra's, or our sweeper's, which has checked the cells."""
    from experiments.cells import Planned, prepare

    if hasattr(loader, "planned"):
        checked: Planned = loader.planned(overrides)
        return checked
    composed = loader.load_sweep_config(config, list(overrides))
    choices = dict(composed.hydra.runtime.choices)
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    return Planned(prepare(task, choices), choices)
