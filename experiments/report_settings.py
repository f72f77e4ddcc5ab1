"""Checks what a config asks of the report of its sweep."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.settings import CONF, groups, resolved, unknown
from sympo.report_settings import ALONE, FULL, ReportSettings
from sympo.types import BadInput

# groups whose choice does not belong to what a cell is
_NOT_OF_CELLS = {"experiment", "size", "sampler", "judge"}


def read_report(given: Any, size: str = FULL) -> ReportSettings:
    """The settings of a report; raises BadInput, naming the key, if they are not valid."""
    # the cells of a sweep share them
    return _read(json.dumps(given), size)


@lru_cache(maxsize=8)
def _read(text: str, size: str) -> ReportSettings:
    return ReportSettings.of(json.loads(text) or {}, size)


def report_of(config: DictConfig, choices: Mapping[str, Any]) -> ReportSettings:
    """The settings of the report of a composed config."""
    given = resolved(OmegaConf.masked_copy(config, "report"))["report"]
    return read_report(given, str(choices.get("size", FULL)))


def check_settings_exist(report: ReportSettings, cells: Iterable[Mapping[str, Any]]) -> None:
    """Refuse settings that neither the cells nor any option have, and unknown options.

    cells: the configs of the sweep's cells.
    """
    used = [use for use in report.uses() if use[1] not in ALONE]
    if not used:
        return
    options = _options()
    known = {
        f"{group}.{name}"
        for cell in cells
        for group in options
        for name in _leaves(cell.get(group))
    }
    for place, name, values in used:
        group, dot, _ = name.partition(".")
        if group not in options:
            raise BadInput(f"{place}={name}: {unknown(name, [*ALONE, *sorted(options)])}")
        if dot and name not in known and name not in (every := known | _settings_of_options()):
            same = sorted(key for key in every if key.startswith(f"{group}."))
            raise BadInput(f"{place}={name}: {unknown(name, same)}")
        for value in () if dot else values:
            if value not in options[group]:
                raise BadInput(f"{place}={value}: {unknown(str(value), options[group])}")


@lru_cache(maxsize=1)
def _options() -> dict[str, list[str]]:
    """The options of each group that gives cells their settings."""
    return {
        name: sorted(path.stem for path in (CONF / name).glob("*.yaml"))
        for name in groups() - _NOT_OF_CELLS
        if "/" not in name
    }


@lru_cache(maxsize=1)
def _settings_of_options() -> frozenset[str]:
    """The settings in the files of all options."""
    found = set[str]()
    for group in _options():
        for file in (CONF / group).glob("*.yaml"):
            found |= {f"{group}.{name}" for name in _leaves(_load(file))}
        for inner in (CONF / group).glob("*/*.yaml"):  # a group in a group
            found |= {f"{group}.{inner.parent.name}.{name}" for name in _leaves(_load(inner))}
    for file in (CONF / "hydra" / "job_settings").glob("*.yaml"):
        found |= {f"job.{name}" for name in _leaves(_load(file))}
    return frozenset(found)


def _load(file: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(file))


def _leaves(settings: Any) -> Iterator[str]:
    """The dotted names of settings."""
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        yield str(key)
        yield from (f"{key}.{name}" for name in _leaves(value))
