"""Checks settings against the classes that take them, and builds parts from them."""

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError
from typing_extensions import get_protocol_members, is_protocol

from experiments.suggestions import elsewhere
from sympo.classes import class_at
from sympo.distributed.launch import Strategy
from sympo.protocols.cleaning import Filter
from sympo.protocols.data import Dataset, NoiseModel
from sympo.protocols.jobs import Job
from sympo.protocols.judging import Judge
from sympo.protocols.models import Loss, ModelSettings, Sampler
from sympo.ranges import Count, NotNegative, Range, Rate, Seed, refusal
from sympo.secrets import secret_in
from sympo.types import BadInput, closest, within

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("job", "dataset", "loss", "noise_model", "model", "sampler")
# the protocol that the class of an option must implement
ROLES: dict[str, type] = {
    "job": Job,
    "dataset": Dataset,
    "loss": Loss,
    "noise_model": NoiseModel,
    "model": ModelSettings,
    "sampler": Sampler,
    "filter": Filter,
    "judge": Judge,
}
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(GROUPS, dict),
    "noise": Rate,
    "seed": Seed,
    "assumed_rate": Rate | None,
    "device": str,
    "threads": Annotated[int, Range(least=1, most=4096)] | None,
    "results_dir": str,
    "report_dir": str,
    "figures": bool,
    "paper_values": str | None,
    "force": bool,
    "dry_run": bool,
    "allow_external_targets": bool,
    "deterministic": bool,
    "distributed": Strategy,
    "filter": dict | None,
    "judge": dict | None,
    "wandb": {"mode": str, "project": str, "entity": str | None, "group": str | None},
    "progress": {
        "cell": Count,
        "cells": Count,
        "started": NotNegative | None,
        "differs": dict | None,
    },
}
# optional members: by default a class is named by its option, and every setting is hashed
WITH_FALLBACK = ("identity", "outside_identity")
# a class inside a value such as {_target_: mine.Loss}
A_CLASS_INSIDE = re.compile(r"""\{.*_target_['"]?\s*:""")


def resolved(config: DictConfig) -> dict[str, Any]:
    """A config as plain values; raises BadInput on missing values and dangling references."""
    try:
        found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise BadInput(" ".join(str(error).split())) from error
    assert isinstance(found, dict)
    if secret := secret_in(found):
        raise BadInput(f"{secret}, which results would keep; leave it in the environment")
    return {str(key): value for key, value in found.items()}


def check_keys(place: str, settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse missing and unknown keys and values of the wrong type.

    wanted: the type of each key; a mapping of types for a nested key.
    """
    for key in wanted.keys() - settings.keys():
        raise BadInput(f"{place}{key} is missing")
    for key, value in settings.items():
        kind = _wanted(place, key, value, wanted)
        inside = isinstance(kind, Mapping)
        _check_value(place + key, value, dict if inside else kind)
        if inside:
            check_keys(f"{place}{key}.", value, kind)


@lru_cache(maxsize=64)
def kept(group: str, option: str, settings: str) -> Any:
    """`build` from settings as JSON, once per process."""
    # shared by the cells of a sweep: building parts and reading files dominates checking a cell
    return build(group, option, json.loads(settings))


def build(group: str, option: Any, settings: Mapping[str, Any]) -> Any:
    """Build a part from its `_target_` and settings; raises BadInput if that fails."""
    if not _is_part(settings):
        raise BadInput(f"{group}._target_={settings.get('_target_')!r} must name a class")
    try:
        target = class_at(settings["_target_"])
        if lacking := _lacking(target, ROLES[group]):
            raise BadInput(
                f"{group}._target_={settings['_target_']} is not a {group.replace('_', ' ')}: "
                f"the class has no {', '.join(lacking)}"
            )
        return _built(group, target, settings)
    except BadInput:
        raise
    except Exception as error:  # whatever a user's class raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{group}={option} could not be built: {reason}") from error


def refuse_classes(overrides: Iterable[str]) -> None:
    """Refuse classes on the command line, because runs are named after options."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        names_one = key.split(".")[-1] == "_target_" or A_CLASS_INSIDE.search(value)
        if names_one and not override.startswith("-"):
            place = key.removesuffix("._target_")
            group = place.replace(".", "/")
            if not (CONF / group).is_dir():
                group = group.split("/")[0]
            raise BadInput(
                f"{override}: a class cannot be chosen on the command line; write "
                f"conf/{group}/NAME.yaml with its _target_ and use {group}=NAME"
            )


def sizes_of(experiment: str) -> list[str]:
    """The sizes of an experiment, the full one first."""
    folder = CONF / "hydra" / "experiment_sizes" / experiment
    return ["full", *sorted(path.stem for path in folder.glob("*.yaml"))]


def check_size(size: str, experiment: str | None) -> None:
    """Refuse a size that the chosen experiment does not have."""
    if size == "full":
        return
    if experiment is None:
        raise BadInput(f"size={size}: sizes are those of an experiment; add experiment=NAME")
    if size not in (sizes := sizes_of(experiment)):
        raise BadInput(
            f"size={size}: experiment={experiment} does not have this size; use size="
            f"{' or size='.join(sizes)}"
        )


def groups() -> set[str]:
    """The groups whose options users choose."""
    folders = {path.parent.relative_to(CONF) for path in CONF.glob("*/**/*.yaml")}
    return {folder.as_posix() for folder in folders if folder.parts[0] != "hydra"}


def unknown_override(key: str, config: DictConfig) -> str:
    """The message for an override of a key that a config does not have."""
    if key in groups():
        return f"{key}: none of the chosen options uses this group"
    parent, _, leaf = key.rpartition(".")
    while parent and not isinstance(OmegaConf.select(config, parent), DictConfig):
        parent, _, leaf = parent.rpartition(".")
    known = set(OmegaConf.select(config, parent)) if parent else {*config, *groups()}
    names = sorted(map(str, known - {"_target_", "hydra", "progress"}))
    if not get_close_matches(leaf, names) and (meant := elsewhere(key, config)):
        return f"{key}: there is no such key; {meant}"
    return f"{key}: {unknown(leaf, names)}"


def unknown(key: str, known: list[str]) -> str:
    """The message for a key that nothing reads."""
    if key in known:  # known to another option
        return "there is no such key here"
    return f"there is no such key; {closest(key, known)}" if known else "there are no settings"


def _built(place: str, target: Any, settings: Mapping[str, Any]) -> Any:
    wanted, arguments = _parameters(target), dict(settings)
    del arguments["_target_"]
    for key, value in arguments.items():
        kind = Any if wanted is None else _wanted(f"{place}.", key, value, wanted)
        if not _is_part(value):
            _check_value(f"{place}.{key}", value, kind)
            continue
        part = class_at(value["_target_"])
        if not isinstance(part, type):
            raise BadInput(f"{place}.{key}._target_={value['_target_']} is not a class")
        if kind is not Any and all(_lacking(part, one) for one in _alternatives(kind)):
            raise BadInput(
                f"{place}.{key}._target_={value['_target_']} is not allowed: it must be a "
                f"{_name(kind)}"
            )
        arguments[key] = _built(f"{place}.{key}", part, value)
    with within(place):
        return target(**arguments)


@cache
def _parameters(target: Any) -> dict[str, Any] | None:
    """The type of each setting of a class; None if it accepts any setting."""
    found = inspect.signature(target).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in found):
        return None
    begin = inspect.unwrap(getattr(target, "__init__", target))
    hints = typing.get_type_hints(begin, include_extras=True)
    return {one.name: hints.get(one.name, Any) for one in found if not one.name.startswith("_")}


def _wanted(place: str, key: str, value: Any, wanted: Mapping[str, Any]) -> Any:
    if key not in wanted:
        raise BadInput(f"{place}{key}={value!r}: {unknown(key, list(wanted))}")
    return wanted[key]


def _check_value(key: str, value: Any, hint: Any) -> None:
    """Refuse a value of the wrong type, or outside the range of its type."""
    if type(value) is hint:  # fast path for most values
        return
    try:
        _reader(hint).validate_json(json.dumps([value]))
    except ValidationError as error:
        only_words = all(typing.get_origin(one) is Literal for one in _alternatives(hint))
        of_type = "" if only_words else "of type "
        group, rule = key.replace(".", "/"), f"it must be {of_type}{_name(hint)}"
        if (CONF / group).is_dir():
            rule = f"{group} is a group; use {group}=OPTION"
        raise BadInput(f"{key}={value!r} is not allowed: {rule}") from error
    if words := refusal(value, hint):
        raise BadInput(f"{key}={value} is not allowed: it must {words}")


@cache
def _reader(hint: Any) -> TypeAdapter[Any]:
    """A reader of JSON in a list: reads arrays as tuples and 1 as a float, but no parts."""
    kinds = [InstanceOf[type] if _of_a_part(kind) else kind for kind in _alternatives(hint)]
    in_a_list: Any = types.GenericAlias(list, (reduce(or_, kinds),))
    return TypeAdapter(in_a_list, config=ConfigDict(strict=True))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is Union
    return typing.get_args(hint) if union else (hint,)


def _of_a_part(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__module__.split(".")[0] not in sys.stdlib_module_names


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("_target_"), str)


def _lacking(part: type, kind: Any) -> list[str]:
    """What a class lacks to be of a kind: protocol members, or the base class."""
    if is_protocol(kind):
        classes = [vars(base) | inspect.get_annotations(base) for base in part.__mro__]
        return sorted(get_protocol_members(kind).difference(WITH_FALLBACK, *classes))
    return [] if isinstance(kind, type) and issubclass(part, kind) else [f"base {_name(kind)}"]


def _name(hint: Any) -> str:
    """A type in words, without its range."""
    kinds, inside = _alternatives(hint), typing.get_args(hint)
    origin = typing.get_origin(hint)
    if len(kinds) > 1:
        return " or ".join(map(_name, kinds))
    if origin is Annotated:
        return _name(inside[0])
    if hint is types.NoneType:
        return "null"
    if origin is Literal:
        return " or ".join(map(str, inside))
    name = str(getattr(origin or hint, "__name__", hint))
    return f"{name}[{', '.join(map(_name, inside))}]" if inside else name
