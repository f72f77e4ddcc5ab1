"""Our Hydra sweeper: validates every cell before the first one runs, and ends with the figures.

Hydra's own sweeper composes every job twice at 0.2 s each, stops at the first job that raises and
reports nothing at the end. This one composes once per combination of groups, applies the scalars
itself, refuses the whole sweep where one cell cannot run, and leaves any launcher to run the cells.
"""

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cells import Cell, prepare, unknown
from experiments.outcomes import Outcome, outcomes, report
from sympo.types import BadInput

SECONDS_BETWEEN_LOOKS = 1.0


class CellSweeper(Sweeper):
    """The grid of all combinations of the swept overrides, in the order in which they are given.

    params: overrides that a preset sweeps, such as `loss: ramp,logistic`; those of the command line
        take their place.
    """

    def __init__(self, params: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.prepared = PreparedConfigs()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(
                config_loader=self.prepared,  # type: ignore[arg-type]
                callbacks=hydra_context.callbacks,
            ),
            task_function=task_function,
            config=config,
        )

    def sweep(self, arguments: list[str]) -> list[Outcome]:
        given = {argument.split("=", 1)[0] for argument in arguments}
        preset = [f"{key}={value}" for key, value in self.params.items() if key not in given]
        combinations = self._combinations(preset + arguments)
        configs = [self._compose(overrides) for overrides in combinations]
        self._number(configs, arguments)
        cells = self._check(configs)
        jobs = [[override.input_line or "" for override in job] for job in combinations]
        for job, config in zip(jobs, configs, strict=True):
            self.prepared.add(job, config)
        found = self._launch(jobs)
        while waiting := [i for i, outcome in enumerate(found) if outcome.status == "busy"]:
            # other processes are at work on these: take them up when they let go
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if free := [i for i in waiting if not cells[i].folder.busy]:
                for i, outcome in zip(free, self._launch([jobs[i] for i in free]), strict=True):
                    found[i] = outcome
        outcomes.extend(found)
        report(found, Path(self.config.report_dir), arguments)
        return found

    def _combinations(self, arguments: list[str]) -> list[list[Override]]:
        parser = OverridesParser.create(config_loader=self.loader)
        choices = []
        for override in parser.parse_overrides(arguments):
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

    def _compose(self, overrides: Sequence[Override]) -> DictConfig:
        scalars = [override for override in overrides if self._is_scalar(override)]
        rest = tuple(str(o.input_line) for o in overrides if not self._is_scalar(o))
        if rest not in self.composed:
            self.composed[rest] = self.loader.load_sweep_config(self.config, list(rest))
        config = deepcopy(self.composed[rest])
        for override in scalars:
            try:
                OmegaConf.update(config, override.key_or_group, override.value())
            except OmegaConfBaseException as error:
                raise BadInput(unknown_override(override.key_or_group, config)) from error
            config.hydra.overrides.task.append(override.input_line)
        return config

    def _is_scalar(self, override: Override) -> bool:
        plain = not (override.is_add() or override.is_force_add() or override.is_delete())
        group = override.package is not None or self.loader.get_group_options(override.key_or_group)
        return plain and not group and not override.key_or_group.startswith("hydra")

    def _number(self, configs: list[DictConfig], arguments: list[str]) -> None:
        what = "/".join(sorted(arguments))
        group = f"sweep-{hashlib.blake2b(what.encode(), digest_size=4).hexdigest()}"
        for number, config in enumerate(configs, 1):
            config.progress.cell, config.progress.cells = number, len(configs)
            if config.wandb.group is None:
                config.wandb.group = group

    def _check(self, configs: list[DictConfig]) -> list[Cell]:
        keys = [key for key in self.config if key != "hydra"]
        return [
            prepare(OmegaConf.masked_copy(config, keys), config.hydra.runtime.choices)
            for config in configs
        ]

    def _launch(self, jobs: list[list[str]]) -> list[Outcome]:
        returns = self.launcher.launch(jobs, initial_job_idx=0)
        return [job.return_value for job in returns]


class PreparedConfigs:
    """Stands where a launcher looks for Hydra's config loader, and hands out what the sweeper
    composed, so that no job is composed twice."""

    def __init__(self) -> None:
        self._configs: dict[tuple[str, ...], DictConfig] = {}

    def add(self, job: Sequence[str], config: DictConfig) -> None:
        self._configs[tuple(job)] = config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        return deepcopy(self._configs[tuple(sweep_overrides)])


def unknown_override(key: str, config: DictConfig) -> str:
    """What to say of an override of a key that is not there."""
    parent, _, leaf = key.rpartition(".")
    place = OmegaConf.select(config, parent) if parent else config
    if not isinstance(place, DictConfig):
        parent, _, leaf = parent.rpartition(".")
        place = OmegaConf.select(config, parent) if parent else config
    known = sorted(str(name) for name in place if name not in ("_target_", "hydra"))
    return f"{key}: {unknown(leaf, known)}"
