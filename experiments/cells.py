"""Builds checked cells from composed configs, and runs them."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig

from experiments.devices import reserved
from experiments.external_targets import SWITCH, refuse_external
from experiments.report_settings import read_report
from experiments.run_data import shares_training, warn_of_shared
from experiments.settings import GROUPS, SETTINGS, build, check_keys, check_size, kept, resolved
from sympo.disk import check_folder
from sympo.distributed import launch
from sympo.pipelines.cell import Cell, assemble, resolve_device
from sympo.pipelines.result import RunResult
from sympo.process import CUBLAS_WORKSPACE
from sympo.runs.names import CORRECTED
from sympo.tracking import resolve_mode
from sympo.types import BadInput, within


@dataclass(frozen=True)
class Planned:
    """A checked cell, and the options chosen for its groups, from which it can be rebuilt."""

    cell: Cell
    choices: Mapping[str, Any]


def prepare(config: DictConfig, choices: Mapping[str, Any]) -> Cell:
    """Build and check every part of a cell; raises BadInput, in one sentence, if one is wrong.

    choices: the option chosen for each group, Hydra's `hydra.runtime.choices`.
    """
    settings = resolved(config)
    # what a sweep reports is no setting of its cells
    read_report(settings.pop("report", None))
    check_size(choices.get("size", "full"), choices.get("experiment"))
    check_keys("", settings, SETTINGS)
    if not settings[SWITCH]:
        refuse_external(settings)
    for key in ("results_dir", "report_dir"):
        check_folder(key, settings[key])
    settings["noise"] = float(settings["noise"])
    if settings["deterministic"]:
        os.environ.setdefault(*CUBLAS_WORKSPACE)  # before anything starts CUDA
    resolve_mode(settings["wandb"]["mode"])
    if choices["filter"] == "none" and settings["filter"] is not None:
        key = next(iter(settings["filter"]))
        raise BadInput(f"filter.{key}={settings['filter'][key]}: filter=none has no settings")
    with _protocol(str(choices.get("protocol", CORRECTED))):
        parts = {
            group: kept(group, choices[group], json.dumps(settings[group], sort_keys=True))
            for group in (*GROUPS, *(["filter"] if settings["filter"] is not None else []))
        }
    parts.setdefault("filter", None)
    strategy = settings["distributed"]
    if not parts["job"].distributes:
        launch.refuse(strategy, str(choices["job"]))
    launch.refuse_launcher(strategy, str(choices["hydra/launcher"]))
    if settings["dry_run"] and strategy != "none":
        raise BadInput(f"distributed={strategy} is not allowed with dry_run=true: leave it out")
    launch.join(strategy, settings["device"])
    judge = _judge(choices["judge"], settings, parts["job"], parts["dataset"])
    options = {group: str(option) for group, option in choices.items()}
    with within("job"):
        return assemble(settings, options, parts, settings, judge, options["judge"])


@contextmanager
def _protocol(option: str) -> Iterator[None]:
    """Name the chosen protocol in errors: it sets keys that the user did not type."""
    try:
        yield
    except BadInput as error:
        if option == CORRECTED:
            raise
        raise BadInput(f"protocol={option}: {error}") from error


def run_cell(config: DictConfig, choices: Mapping[str, Any], wait: bool) -> RunResult:
    """Run a cell unless it is complete; raises BadInput before any work.

    A cell that fails later leaves `error.log` and a failed result, and does not stop other cells.

    wait: whether to wait if another process holds the cell; otherwise the result is `busy`.
    """
    from sympo.pipelines.runner import run_cells

    cell = prepare(config, choices)
    progress = cell.config["progress"]
    with reserved([cell.device], note=print):
        (result,) = run_cells([cell], after=progress["cells"] - progress["cell"], wait=wait)
    return result


def _judge(option: Any, settings: Mapping[str, Any], job: Any, dataset: Any) -> Any:
    if settings["judge"] is None:
        return None
    if not job.leaves_samples:
        raise BadInput(f"judge={option}: this job leaves no responses to judge; use job=policy")
    judge = build_judge(str(option), settings["judge"])
    judge.of(dataset)
    if shares_training(judge, dataset, settings[SWITCH]):
        warn_of_shared(str(option), "the policies of this sweep")
    return judge


def build_judge(option: str, settings: Mapping[str, Any]) -> Any:
    """Build and check a judge; the cells of a sweep share it, and with it the budget."""
    if "device" in settings:
        settings = {**settings, "device": resolve_device(str(settings["device"]))}
    return _judge_kept(option, json.dumps(settings, sort_keys=True))


@cache
def _judge_kept(option: str, settings: str) -> Any:
    # kept while the program runs, because it counts its costs
    judge = build("judge", option, json.loads(settings)).named(option)
    with within("judge"):
        judge.check()
    return judge
