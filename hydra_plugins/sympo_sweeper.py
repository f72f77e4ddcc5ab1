"""Hydra sweeper that checks every cell before the first one runs, and ends with the figures.

Hydra's basic sweeper composes every job twice at 0.2 s each, stops at the first job that raises,
and reports nothing at the end. This one composes once per combination of groups, sets the other
overrides itself, refuses the whole sweep if any cell cannot run, and works with any launcher.
"""

import itertools
import math
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
from experiments.external_targets import SWITCH
from experiments.report import SMALL, cell_provenance, command, outcomes, report
from experiments.report_settings import check_settings_exist, report_of
from experiments.settings import refuse_classes, sizes_of, unknown_override
from experiments.sweep_names import differing, group_name, settings_of
from experiments.tracked import track_sweep
from sympo.distributed import processes
from sympo.pipelines.cell import Cell
from sympo.pipelines.result import RunResult
from sympo.types import BadInput

if TYPE_CHECKING:
    from sympo.analysis.paper_values import PaperValues

SECONDS_BETWEEN_LOOKS = 1.0
# more would take days to plan alone
MOST_CELLS = 1_000_000


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
            if free := processes.from_first(partial(_free, cells, waiting)):
                for i, outcome in zip(free, self._launch([jobs[i] for i in free]), strict=True):
                    found[i] = outcome
        outcomes.extend(found)
        if not processes.first():
            return found
        chosen = self.config.hydra.runtime.choices
        note = SMALL if chosen.size == "small" else ""
        provenance = partial(cell_provenance, arguments)
        out = Path(self.config.report_dir)
        written = report(
            found, out, provenance, asked=asked, note=note, paper_values=paper,
            figures=bool(self.config.figures), typed=command("-m ", arguments),
        )  # fmt: skip
        track_sweep(cells, found, out if written else None, arguments, chosen.experiment)
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
            # a range may have any number of values
            swept = itertools.islice(override.sweep_string_iterator(), MOST_CELLS + 1)
            values = [f"{key}={value}" for value in swept]
            _check_size(len(values), str(override.input_line))
            choices.append(parser.parse_overrides(values))
            _check_size(math.prod(map(len, choices)), " ".join(arguments))
        return [list(combination) for combination in itertools.product(*choices)]

    def _compose(self, overrides: Sequence[Override]) -> "Job":
        scalars = [override for override in overrides if self._is_scalar(override)]
        rest = tuple(str(o.input_line) for o in overrides if not self._is_scalar(o))
        if rest not in self.composed:
            self.composed[rest] = self.loader.load_sweep_config(self.config, list(rest))
        base = self.composed[rest]
        config = OmegaConf.masked_copy(base, [str(key) for key in base if key != "hydra"])
        for override in scalars:
            key = override.key_or_group
            if key.split(".")[0] not in config:
                raise BadInput(unknown_override(key, config))
            try:
                OmegaConf.update(config, key, override.value())
            except OmegaConfBaseException as error:
                raise BadInput(unknown_override(key, config)) from error
        lines = [str(override.input_line) for override in overrides]
        keys = [override.key_or_group for override in overrides]
        return Job(lines, base, config, settings_of(keys, lines))

    def _is_scalar(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.groups:  # cached, because the look-up copies Hydra's search path
            self.groups[key] = bool(self.loader.get_group_options(key))
        structural = override.is_add() or override.is_force_add() or override.is_delete()
        grouped = self.groups[key] or override.package is not None
        # the switch must reach the loader, which refuses classes
        return not (structural or grouped or key.startswith("hydra") or key == SWITCH)

    def _check(self, jobs: list["Job"], arguments: list[str]) -> tuple[list["Job"], list[Cell]]:
        """Deduplicate and number the jobs; returns them with their checked cells."""
        group = group_name(arguments)
        different: dict[tuple[Path, str], tuple[Job, Cell]] = {}
        combinations: dict[tuple[Path, str], list[dict[str, str]]] = {}
        for job in jobs:
            cell = prepare(job.config, job.base.hydra.runtime.choices)
            # several judges may judge one cell
            key = (cell.folder.path, str(cell.config["judge"]))
            different.setdefault(key, (job, cell))
            combinations.setdefault(key, []).append(job.settings)
        if len(different) < len(jobs):
            print(
                f"{len(jobs)} combinations give {len(different)} distinct "
                f"cell{'s' * (len(different) != 1)}"
            )
        started = time.time()
        differs = differing(list(combinations.values()))
        for number, (job, cell) in enumerate(different.values(), 1):
            progress = {
                "cell": number,
                "cells": len(different),
                "started": started,
                "differs": differs[number - 1],
            }
            for config in (job.config, cell.config):
                config["progress"] = dict(progress)
                if config["wandb"]["group"] is None:
                    config["wandb"]["group"] = group
        return [job for job, _ in different.values()], [cell for _, cell in different.values()]

    def _launch(self, jobs: list["Job"]) -> list[RunResult]:
        returns = self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        return [job.return_value for job in returns]


def _check_size(cells: int, sweep: str) -> None:
    if cells > MOST_CELLS:
        raise BadInput(f"{sweep}: a sweep has at most {MOST_CELLS:,} cells, and this one has more")


def _free(cells: Sequence[Cell], waiting: Sequence[int]) -> list[int]:
    return [number for number in waiting if not cells[number].folder.busy]


@dataclass(frozen=True)
class Job:
    """A cell to launch: its overrides, the config composed for its groups, its own config, and the
    value of each override."""

    overrides: list[str]
    base: DictConfig
    config: DictConfig
    settings: dict[str, str]


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
