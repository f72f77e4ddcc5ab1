"""Hydra sweeper that checks every cell before the first one runs, and ends with the figures.

Hydra's basic sweeper composes every job twice at 0.2 s each, stops at the first job that raises,
and reports nothing at the end. This one composes once per combination of groups, sets the other
overrides itself, refuses the whole sweep if any cell cannot run, and works with any launcher.
"""

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cells import Planned, prepare
from experiments.report import SMALL, cell_provenance, command, outcomes, report
from experiments.report_settings import check_settings_exist, report_of
from experiments.settings import refuse_classes, sizes_of, unknown_override
from sympo.pipelines.cell import Cell
from sympo.pipelines.result import RunResult
from sympo.types import BadInput

if TYPE_CHECKING:
    from sympo.analysis.paper_values import PaperValues

SECONDS_BETWEEN_LOOKS = 1.0


class CellSweeper(Sweeper):
    """Sweeps the grid of all combinations of the overrides, in the given order.

    params: overrides that a preset sweeps, such as `loss: ramp,logistic`; the command line takes
        precedence.
    """

    config: DictConfig
    launcher: Launcher

    def __init__(self, params: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.groups: dict[str, bool] = {}
        self.prepared = PreparedConfigs()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(
                config_loader=self.prepared,  # type: ignore[arg-type]
                callbacks=hydra_context.callbacks,
            ),
            task_function=task_function,
            config=config,
        )

    def sweep(self, arguments: list[str]) -> list[RunResult]:
        if hasattr(get_class(self.config.job._target_), "start"):
            raise BadInput("this job handles all its runs at once: leave out -m")
        asked = report_of(self.config, self.config.hydra.runtime.choices)
        paper = self._paper_values()
        jobs = [self._compose(overrides) for overrides in self._combinations(arguments)]
        jobs, cells = self._check(jobs, arguments)
        check_settings_exist(asked, (cell.config for cell in cells))
        for job, cell in zip(jobs, cells, strict=True):
            self.prepared.add(job, cell)
        if self.config.dry_run:
            self._show_plan(jobs)
            return []
        found = self._launch(jobs)
        while waiting := [i for i, outcome in enumerate(found) if outcome.status == "busy"]:
            # other processes hold these: take them once they are released
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if free := [i for i in waiting if not cells[i].folder.busy]:
                for i, outcome in zip(free, self._launch([jobs[i] for i in free]), strict=True):
                    found[i] = outcome
        outcomes.extend(found)
        chosen = self.config.hydra.runtime.choices
        note = SMALL if chosen.size == "small" else ""
        provenance = partial(cell_provenance, arguments)
        out = Path(self.config.report_dir)
        report(
            found, out, provenance, asked=asked, note=note, paper_values=paper,
            typed=command("-m ", arguments),
        )  # fmt: skip
        if chosen.experiment and (others := {*sizes_of(chosen.experiment)} - {chosen.size}):
            print(f"size={chosen.size}; this experiment also has size={', '.join(sorted(others))}")
        return found

    def _paper_values(self) -> Sequence["PaperValues"]:
        from sympo.analysis.paper_values import read_paper_values

        file = self.config.paper_values
        return () if file is None else read_paper_values(str(file))

    def _show_plan(self, jobs: list["Job"]) -> None:
        from experiments.dry_run import show

        launcher = self.config.hydra.launcher
        planned = [self.prepared.planned(job.overrides) for job in jobs]
        show(planned, launcher.get("most_cells"), launcher.get("processes"))

    def _combinations(self, arguments: list[str]) -> list[list[Override]]:
        parser = OverridesParser.create(config_loader=self.loader)
        given = parser.parse_overrides(arguments)
        named = {override.key_or_group for override in given}
        preset = [f"{key}={value}" for key, value in self.params.items() if key not in named]
        refuse_classes(preset)
        choices = []
        for override in parser.parse_overrides(preset) + given:
            if override.key_or_group == "experiment" and override.is_sweep_override():
                raise BadInput(
                    f"{override.input_line}: presets cannot be swept, because each defines a "
                    "sweep; run them one after another"
                )
            if override.key_or_group == "sampler" and override.is_sweep_override():
                raise BadInput(
                    f"{override.input_line}: samplers cannot be swept, since a cell keeps the "
                    "responses of one; run one after the other, each with its own results_dir"
                )
            if not override.is_sweep_override():
                choices.append([override])
                continue
            if not override.is_discrete_sweep():
                raise BadInput(
                    f"{override.input_line}: only choices and ranges can be swept, such as "
                    f"{override.key_or_group}=1,2 or {override.key_or_group}=range(3)"
                )
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
            choices.append(parser.parse_overrides(values))
        return [list(combination) for combination in itertools.product(*choices)]

    def _compose(self, overrides: Sequence[Override]) -> "Job":
        scalars = [override for override in overrides if self._is_scalar(override)]
        rest = tuple(str(o.input_line) for o in overrides if not self._is_scalar(o))
        if rest not in self.composed:
            self.composed[rest] = self.loader.load_sweep_config(self.config, list(rest))
        base = self.composed[rest]
        config = OmegaConf.masked_copy(base, [str(key) for key in base if key != "hydra"])
        for override in scalars:
            try:
                OmegaConf.update(config, override.key_or_group, override.value())
            except OmegaConfBaseException as error:
                raise BadInput(unknown_override(override.key_or_group, config)) from error
        return Job([str(override.input_line) for override in overrides], base, config)

    def _is_scalar(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.groups:  # cached, because the look-up copies Hydra's search path
            self.groups[key] = bool(self.loader.get_group_options(key))
        structural = override.is_add() or override.is_force_add() or override.is_delete()
        grouped = self.groups[key] or override.package is not None
        return not (structural or grouped or key.startswith("hydra"))

    def _check(self, jobs: list["Job"], arguments: list[str]) -> tuple[list["Job"], list[Cell]]:
        """Deduplicate and number the jobs; returns them with their checked cells."""
        what = "/".join(sorted(a for a in arguments if not a.startswith("hydra")))
        group = f"sweep-{hashlib.blake2b(what.encode(), digest_size=4).hexdigest()}"
        different: dict[tuple[Path, str], tuple[Job, Cell]] = {}
        for job in jobs:
            cell = prepare(job.config, job.base.hydra.runtime.choices)
            # several judges may judge one cell
            different.setdefault((cell.folder.path, str(cell.config["judge"])), (job, cell))
        if len(different) < len(jobs):
            print(
                f"{len(jobs)} combinations give {len(different)} distinct "
                f"cell{'s' * (len(different) != 1)}"
            )
        started = time.time()
        for number, (job, cell) in enumerate(different.values(), 1):
            progress = {"cell": number, "cells": len(different), "started": started}
            for config in (job.config, cell.config):
                config["progress"] = dict(progress)
                if config["wandb"]["group"] is None:
                    config["wandb"]["group"] = group
        return [job for job, _ in different.values()], [cell for _, cell in different.values()]

    def _launch(self, jobs: list["Job"]) -> list[RunResult]:
        returns = self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        return [job.return_value for job in returns]


@dataclass(frozen=True)
class Job:
    """A cell to launch: its overrides, the config composed for its groups, and its own config."""

    overrides: list[str]
    base: DictConfig
    config: DictConfig


class PreparedConfigs:
    """Replaces Hydra's config loader in a launcher and returns the configs that the sweeper
    composed, so that no job is composed twice."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, ...], tuple[Job, Cell | None]] = {}

    def __getstate__(self) -> dict[str, object]:
        # for launchers that start processes: a cell holds a lock, so each process rebuilds it
        return {"_jobs": {overrides: (job, None) for overrides, (job, _) in self._jobs.items()}}

    def add(self, job: Job, cell: Cell) -> None:
        self._jobs[tuple(job.overrides)] = job, cell

    def planned(self, overrides: Sequence[str]) -> Planned:
        """The checked cell, for a launcher that needs nothing else from Hydra."""
        job, cell = self._jobs[tuple(overrides)]
        assert cell is not None
        return Planned(cell, dict(job.base.hydra.runtime.choices))

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        job, _ = self._jobs[tuple(sweep_overrides)]
        config = deepcopy(job.base)
        config.hydra.overrides.task = list(job.overrides)
        for key in job.config:
            config[key] = job.config._get_node(key)  # interpolations unresolved
        return config
