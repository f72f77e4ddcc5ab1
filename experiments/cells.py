"""From a composed config to a cell that is known to be runnable, before any cell runs."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from omegaconf import DictConfig

from experiments.settings import GROUPS, SETTINGS, build, check_keys, kept, resolved
from sympo.disk import check_folder
from sympo.records import CellName, RunFolder, identity
from sympo.tracking import resolve_mode
from sympo.types import BadInput, within

STARTED = time.time()
# which seeds' draws are kept in memory, so that the losses and rates of a seed share one
DRAWS = 64


@dataclass(frozen=True)
class Cell:
    """One runnable cell: its name and folder, its parts, and its whole resolved config.

    contents: fingerprints of the files behind data set and model, None where there are none.
    judge: None, or who judges the answers that the job leaves; judge_name: the option chosen.
    """

    name: CellName
    folder: RunFolder
    config: dict[str, Any]
    contents: dict[str, str | None]
    device: str
    job: Any
    dataset: Any
    loss: Any
    noise_model: Any
    model: Any
    sampler: Any
    judge: Any
    judge_name: str

    @property
    def since(self) -> float:
        """What was made before this moment is made anew: by force, once in a sweep, also where
        several processes share it."""
        return (self.config["progress"]["started"] or STARTED) if self.config["force"] else 0.0


@dataclass(frozen=True)
class Planned:
    """A checked cell and the options chosen for its groups, of which it can be made again."""

    cell: Cell
    choices: Mapping[str, Any]


def prepare(config: DictConfig, choices: Mapping[str, Any]) -> Cell:
    """Build and check every part of a cell; raises BadInput, in one sentence, where one is wrong.

    choices: the option chosen for each group, Hydra's `hydra.runtime.choices`.
    """
    settings = resolved(config)
    check_keys("", settings, SETTINGS)
    for key in ("results_dir", "report_dir"):
        check_folder(key, settings[key])
    settings["noise"] = float(settings["noise"])
    resolve_mode(settings["wandb"]["mode"])
    device = resolve_device(settings["device"])

    job, dataset, loss, noise_model, model, sampler = (
        kept(group, choices[group], json.dumps(settings[group], sort_keys=True)) for group in GROUPS
    )
    with within("dataset"):
        dataset.check()
    name = CellName(
        job=str(choices["job"]),
        dataset=str(choices["dataset"]),
        loss=str(choices["loss"]),
        noise=settings["noise"],
        noise_model=str(choices["noise_model"]),
        model=str(choices["model"]),
        seed=settings["seed"],
    )
    contents = {"dataset": _fingerprint(dataset), "model": _fingerprint(model)}
    folder = RunFolder(settings["results_dir"], name, identity(settings, contents))
    judge = _judge(choices["judge"], settings["judge"], job, dataset)
    cell = Cell(
        name, folder, settings, contents, device, job, dataset, loss, noise_model, model,
        sampler, judge, str(choices["judge"]),
    )  # fmt: skip
    job.check(cell)
    return cell


def _judge(option: Any, settings: Mapping[str, Any] | None, job: Any, dataset: Any) -> Any:
    if settings is None:
        return None
    if not job.leaves_samples:
        raise BadInput(f"judge={option}: this job leaves no answers to judge; use job=policy")
    judge = build_judge(str(option), settings)
    judge.of(dataset)
    return judge


def build_judge(option: str, settings: Mapping[str, Any]) -> Any:
    """A judge by its settings, checked; the cells of a sweep share it, and what it may cost."""
    if "device" in settings:
        settings = {**settings, "device": resolve_device(settings["device"])}
    return _judge_kept(option, json.dumps(settings, sort_keys=True))


@cache
def _judge_kept(option: str, settings: str) -> Any:
    # for as long as the program runs: it knows what it has cost
    judge = build("judge", option, json.loads(settings))
    with within("judge"):
        judge.check()
    return judge


@lru_cache(maxsize=16)
def _fingerprint(part: Any) -> str | None:
    return part.fingerprint() if hasattr(part, "fingerprint") else None


@lru_cache(maxsize=DRAWS)
def draw(dataset: Any, seed: int) -> Any:
    """One seed's draw of a data set, shared by the cells that see it."""
    return dataset.draw(seed)


@lru_cache(maxsize=8)
def resolve_device(device: Any) -> str:
    """`auto` is CUDA where there is one; raises BadInput on a device that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except (RuntimeError, TypeError):
        kind, index = "", 0
    if kind == "cpu" and index == 0:
        return "cpu"
    if kind == "cuda" and index < torch.cuda.device_count():
        return str(device)
    raise BadInput(
        f"device={device} is not here: use auto, cpu, or cuda:N with N below the number of CUDA "
        f"devices ({torch.cuda.device_count()})"
    )
