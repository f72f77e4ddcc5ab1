"""From a composed config to a cell that is known to be runnable, before any cell runs."""

import difflib
import inspect
import json
import time
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sympo.disk import check_folder
from sympo.ranges import Count, NotNegative, Range, Rate, Seed, plain, refusal
from sympo.records import CellName, RunFolder, identity
from sympo.tracking import resolve_mode
from sympo.types import BadInput, within

GROUPS = ("job", "dataset", "loss", "noise_model", "model", "sampler")
# what the class of an option must have, which other classes lack
ROLES = {
    "job": ("check", "train", "headlines"),
    "dataset": ("check", "fingerprint"),
    "loss": ("properties", "reduce", "log_weight"),
    "noise_model": ("rates",),
    "model": ("check", "build"),
    "sampler": ("check", "sample"),
    "judge": ("check", "of", "compare"),
}
SETTINGS: dict[str, Any] = {
    "noise": Rate,
    "seed": Seed,
    "assumed_rate": Rate | None,
    "device": str,
    "threads": Annotated[int, Range(least=1, most=4096)] | None,
    "results_dir": str,
    "report_dir": str,
    "force": bool,
    "judge": dict | None,
    "wandb": {"mode": str, "project": str, "entity": str | None, "group": str | None},
    "progress": {"cell": Count, "cells": Count, "started": NotNegative | None},
}
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
    check_keys("", settings, {**dict.fromkeys(GROUPS, dict), **SETTINGS})
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
    judge = build("judge", option, json.loads(settings)).named(option)
    with within("judge"):
        judge.check()
    return judge


def resolved(config: DictConfig) -> dict[str, Any]:
    """A config as plain values; BadInput where one is missing or refers to nothing."""
    try:
        found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise BadInput(" ".join(str(error).split())) from error
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def check_keys(place: str, settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse missing and unknown keys and values of the wrong type."""
    for key in wanted.keys() - settings.keys():
        raise BadInput(f"{place}{key} is missing")
    for key, value in settings.items():
        if key not in wanted:
            raise BadInput(f"{place}{key}={value!r}: {unknown(key, list(wanted))}")
        if isinstance(wanted[key], Mapping):
            if not isinstance(value, Mapping):
                raise BadInput(f"{place}{key}={value!r} is not allowed: it has keys of its own")
            check_keys(f"{place}{key}.", value, wanted[key])
        else:
            _check_value(place + key, value, wanted[key])


def _check_value(key: str, value: Any, hint: Any) -> None:
    """Refuse a value of the wrong type, or outside the range of its type."""
    kind = plain(hint)
    if not _fits(value, kind):
        group = key.replace(".", "/")
        raise BadInput(
            f"{key}={value!r} is not allowed: it must be of type {_name(kind)}"
            + (f"; {group} is a group" if _is_part(kind) else "")
        )
    if words := refusal(value, hint):
        raise BadInput(f"{key}={value} is not allowed: it must {words}")


def build(group: str, option: Any, settings: Mapping[str, Any]) -> Any:
    """A part by its `_target_` and settings; BadInput where it cannot be built."""
    if not isinstance(settings.get("_target_"), str):
        raise BadInput(f"{group}._target_={settings.get('_target_')!r} must name a class")
    try:
        target = get_class(settings["_target_"])
        if lacking := [name for name in ROLES.get(group, ()) if not hasattr(target, name)]:
            raise BadInput(
                f"{group}._target_={settings['_target_']} is not a {group.replace('_', ' ')}: "
                f"the class has no {lacking[0]}"
            )
        _check_types(group, target, settings)
        return _made(group, settings)
    except BadInput:
        raise
    except Exception as error:  # whatever a class of a user's does
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{group}={option} could not be built: {reason}") from error


def _made(place: str, settings: Mapping[str, Any]) -> Any:
    arguments = {
        key: _made(f"{place}.{key}", value)
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str)
        else value
        for key, value in settings.items()
        if key != "_target_"
    }
    with within(place):
        return get_class(settings["_target_"])(**arguments)


def _check_types(group: str, target: Any, settings: Mapping[str, Any]) -> None:
    """Refuse keys that a part does not take, and values of a type that it does not take."""
    begin = inspect.unwrap(getattr(target, "__init__", target))
    hints = typing.get_type_hints(begin, include_extras=True)
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if not name.startswith("_")]
    for key, value in settings.items():
        if key == "_target_":
            continue
        if key not in known:
            raise BadInput(f"{group}.{key}={value!r}: {unknown(key, known)}")
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
            part = get_class(value["_target_"])
            if not _is_a(part, hints.get(key)):
                raise BadInput(
                    f"{group}.{key}._target_={value['_target_']} is not allowed: it must be a "
                    f"{_name(plain(hints[key]))}"
                )
            _check_types(f"{group}.{key}", part, value)
        else:
            _check_value(f"{group}.{key}", value, hints.get(key))


def _is_a(part: type, hint: Any) -> bool:
    """Whether an object of a class can be what a hint asks for, if it asks for a part."""
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if _is_part(kind)]
    return not kinds or issubclass(part, tuple(kinds))


def _is_part(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.split(".")[0] in ("sympo", "experiments")


def _name(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint))


def _fits(value: Any, hint: Any) -> bool:
    if _is_part(hint):
        return isinstance(value, hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if typing.get_origin(hint) in (tuple, list):
        part = typing.get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_fits(item, part) for item in value)
    if hint in (str, bool, dict, type(None)):
        return isinstance(value, hint)
    return True


def unknown(key: str, known: list[str]) -> str:
    """What to say of a key that no one reads."""
    if key in known:  # of another option
        return "there is no such key here"
    if close := difflib.get_close_matches(key, known, n=1):
        return f"there is no such key; did you mean {close[0]}?"
    return f"there is no such key; known are {', '.join(known) or 'none'}"


@lru_cache(maxsize=64)
def kept(group: str, option: str, settings: str) -> Any:
    """`build` from settings as JSON, once in a process."""
    # the cells of a sweep share it: to build it and to read its files is most of checking a cell
    return build(group, option, json.loads(settings))


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
