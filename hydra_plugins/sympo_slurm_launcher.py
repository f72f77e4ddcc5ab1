"""Hydra launcher that trains the cells of a sweep as tasks of SLURM job arrays."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.sympo_batched_launcher import job_returns, planned_cell


class SlurmLauncher(Launcher):
    """Submits the cells that are not complete, waits for their tasks, and collects their results.

    settings: of conf/hydra/launcher/submitit_slurm.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.given: Any = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        # imported here: Hydra imports every plugin at every start
        from experiments.slurm.sbatch import SlurmSettings

        self.settings = SlurmSettings.of(self.given)
        self.loader, self.config = hydra_context.config_loader, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        from experiments.slurm.array_sweep import run_as_arrays
        from sympo.pipelines.progress import Terminal

        planned = [planned_cell(self.loader, self.config, one) for one in job_overrides]
        found = run_as_arrays(planned, self.settings, Terminal(sys.stdout))
        return job_returns(job_overrides, found)
