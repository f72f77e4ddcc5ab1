"""The identity of a cell: which settings its hash covers, and why.

The hash of a run folder, the key of a shared stage and the key of a judge's verdicts are made of

- the stable name of each part (`loss`, `model`, ...), which its class declares as `identity`. A
  class that declares none is named by the option that chose it, or by its class name in snake
  case. Python paths are excluded, so that a class can move or be renamed.
- each setting that differs from the default of its class. A new setting whose default reproduces
  the earlier numbers therefore changes no hash. Default values are stored beside the hash: if one
  changes, results made under the old one are detected and recomputed.
- the fingerprint of the content of files, instead of their paths.
- the noise rate and the seed of a cell.

It excludes whatever cannot change a number in principle: every top-level key of a config that is
not a part (results_dir, device, threads, force, wandb, progress); settings that a class lists in
`outside_identity`, such as tokens_per_pass or the path of data that has a fingerprint; and the
judge, which only reads a cell's responses. A cell's hash also excludes the sampler, which changes
how responses are drawn but not how the policy is trained. The sampler is part of the key of sampled
stages and of the summary, so that a cell is sampled again when its sampler changes.

Numbers are normalised: 0 equals 0.0, and 1e-3 equals 0.001.
"""

import dataclasses
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from sympo.classes import is_defined, recorded_class
from sympo.types import BadInput

# the keys for a part's class in a config, and for its stable name in an identity
TARGET, NAME = "_target_", "_identity_"
# of identities in summaries and keys; format 1 had Python paths and every setting
FORMAT = 2
_MISSING = object()


@dataclass(frozen=True)
class Identity:
    """Settings with a stable name for each part, and which of them have their class's default.

    settings: every setting of every part, nested. at_default: dotted names of the settings at their
        default, which are not hashed. classes: the Python path of each part's class, recorded to
        distinguish a class that was exchanged from one that moved.
    """

    settings: Mapping[str, Any]
    at_default: frozenset[str] = frozenset()
    classes: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def hashed(self) -> dict[str, Any]:
        """The settings that are hashed."""
        return _without(self.settings, self.at_default)

    def __getitem__(self, key: str) -> "Identity":
        """The identity of one part; empty if the part is null."""
        start = f"{key}."
        inside = {name.removeprefix(start) for name in self.at_default if name.startswith(start)}
        return Identity(self.settings[key] or {}, frozenset(inside))

    def replaced(self, classes: Mapping[str, str]) -> str:
        """A sentence on the part whose class is another one than in `classes`, which still exists,
        so that it did not just move; empty if there is none."""
        for place, now in self.classes.items():
            then = classes.get(place, now)
            if then != now and _is_another(then, now):
                return f"{place} was {then} and is {now} now"
        return ""

    def without(self, *names: str) -> "Identity":
        """The identity without some settings, given by their dotted names."""
        return Identity(_without(self.settings, names), self.at_default - set(names), self.classes)

    def digest(self, size: int) -> str:
        """A hash of `size` bytes, in hexadecimal."""
        return digest(self.hashed, size)

    def contradiction(self, stored: Mapping[str, Any], at_default: Sequence[str]) -> str:
        """A sentence on the default that changed since settings of the same digest were stored;
        empty if none changed."""
        for name in sorted({*self.at_default, *at_default}):
            now, then = (leaf(one, name, _MISSING) for one in (self.settings, stored))
            if now is not _MISSING and then is not _MISSING and now != then:
                return f"{name} was {_shown(then)} by default and is {_shown(now)} now"
        return ""


def joined(**parts: Any) -> Identity:
    """Combine identities and plain values into one identity."""
    settings, at_default = {}, set()
    for key, part in parts.items():
        if isinstance(part, Identity):
            settings[key] = part.settings
            at_default |= {f"{key}.{name}" for name in part.at_default}
        else:
            settings[key] = normalised(part)
    return Identity(settings, frozenset(at_default))


def identity_of(
    config: Mapping[str, Any],
    options: Mapping[str, str] | None = None,
    contents: Mapping[str, str | None] | None = None,
) -> Identity:
    """The identity of settings in which parts are objects, or mappings with a `_target_`.

    options: the option that chose each part. contents: the fingerprint of each part's files, None
        for a part that has none.
    """
    settings, at_default = {}, set[str]()
    for key, value in config.items():
        settings[key], left_out = _setting(value, (options or {}).get(key))
        at_default |= {f"{key}.{name}" for name in left_out}
    for key, fingerprint in (contents or {}).items():
        if fingerprint is not None:
            settings[key]["content"] = fingerprint
    return Identity(settings, frozenset(at_default), dict(_classes("", config)))


def part_identity(part: Any) -> Identity:
    """The identity of a single part, given as an object or as its config."""
    settings, at_default = _setting(part)
    return Identity(settings, frozenset(at_default))


def as_config(part: Any) -> dict[str, Any]:
    """The config that rebuilds a part, with its `_target_`; raises BadInput if the part does not
    keep an argument as an attribute."""
    kind = type(part)
    outside: frozenset[str] = getattr(kind, "outside_identity", frozenset())
    settings = {
        name: _plain(value)
        for name, value in _given(part).items()
        # such as rows in memory, for which the fingerprint stands
        if not (name in outside and isinstance(value, Sequence) and not isinstance(value, str))
    }
    return {TARGET: f"{kind.__module__}.{kind.__qualname__}", **settings}


def stable_name(kind: type, option: str | None = None) -> str:
    """The name of a class, wherever it lives: its own `identity`, which a subclass does not
    inherit, else the option that chose it, else its class name in snake case."""
    declared: str | None = vars(kind).get("identity")
    name = declared or option or snake_case(kind.__name__)
    if not declared and name in {vars(base).get("identity") for base in kind.__mro__[1:]}:
        raise BadInput(
            f'{kind.__name__} needs a name for its results, such as identity = "my_{name}" in the '
            f"class: a class that it inherits from is called {name}"
        )
    return name


def snake_case(name: str) -> str:
    """`snake_case` of `SnakeCase`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _is_another(path: str, now: str) -> bool:
    """Whether the class at a recorded path still exists and is not today's."""
    try:
        return recorded_class(path) is not recorded_class(now)
    except ImportError:  # then its module is not imported, so it is not the class in use
        return is_defined(path)


def digest(settings: Mapping[str, Any], size: int = 4) -> str:
    """A hash of JSON values: `size` bytes, in hexadecimal."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def leaf(settings: Any, name: str, missing: Any = None) -> Any:
    """The setting at a dotted name, or `missing`."""
    for key in name.split("."):
        settings = settings.get(key, missing) if isinstance(settings, Mapping) else missing
    return settings


def normalised(value: Any) -> Any:
    """The canonical form of a plain value, which is hashed."""
    if isinstance(value, Mapping):
        return {str(key): normalised(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [normalised(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _part(
    kind: type, given: Mapping[str, Any], option: str | None
) -> tuple[dict[str, Any], set[str]]:
    """The settings of a part under its stable name, and those at their defaults."""
    outside: frozenset[str] = getattr(kind, "outside_identity", frozenset())
    usual = defaults(kind)
    settings: dict[str, Any] = {NAME: stable_name(kind, option)}
    at_default: set[str] = set()
    for key, value in sorted({**usual, **given}.items()):
        if key not in outside:
            settings[key], left_out = _setting(value)
            if key in usual and settings[key] == _setting(usual[key])[0]:
                left_out = set(_leaves(settings[key]))
            at_default |= {f"{key}.{name}" if name else key for name in left_out}
    return settings, at_default


def _setting(value: Any, option: str | None = None) -> tuple[Any, set[str]]:
    """A setting in the form that is hashed, and what is at its default inside it."""
    if is_part(value):
        given = {key: setting for key, setting in value.items() if key != TARGET}
        return _part(recorded_class(value[TARGET]), given, option)
    if _is_object(value):
        return _part(type(value), _given(value), option)
    return normalised(value), set()


def _classes(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """The Python path of each part's class."""
    if _is_object(value):
        yield place, f"{type(value).__module__}.{type(value).__qualname__}"
        value = _given(value)
    if isinstance(value, Mapping):
        if is_part(value):
            yield place, value[TARGET]
        for key, item in value.items():
            yield from _classes(f"{place}.{key}" if place else key, item)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from (f"{key}.{name}" if name else key for name in _leaves(item))
    else:
        yield ""


@cache
def _arguments(kind: type) -> dict[str, Any]:
    """The settings among the arguments of a class, each with its default or `MISSING`."""
    if dataclasses.is_dataclass(kind):
        found = {
            field.name: field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
            for field in dataclasses.fields(kind)
            if field.init
        }
    else:
        found = {
            one.name: dataclasses.MISSING if one.default is one.empty else one.default
            for one in _parameters(kind)
            if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        }
    return {name: value for name, value in found.items() if not name.startswith("_")}


def _parameters(kind: type) -> list[inspect.Parameter]:
    return list(inspect.signature(kind).parameters.values())


@cache
def defaults(kind: type) -> dict[str, Any]:
    """The defaults of the settings of a class."""
    arguments = _arguments(kind).items()
    return {name: value for name, value in arguments if value is not dataclasses.MISSING}


def _given(part: Any) -> dict[str, Any]:
    """The arguments that an object was built with."""
    kind: type = type(part)
    if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in _parameters(kind)):
        raise BadInput(f"{kind.__name__} cannot be recorded: it takes any argument; name them")
    try:
        return {name: getattr(part, name) for name in _arguments(kind)}
    except AttributeError as error:
        raise BadInput(
            f"{type(part).__name__} cannot be recorded: it must be a dataclass, or keep each "
            f"argument as an attribute ({error})"
        ) from error


def _plain(value: Any) -> Any:
    if _is_object(value):
        return as_config(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _is_object(value: Any) -> bool:
    plain = (str, int, float, bool, Mapping, Sequence, type(None), os.PathLike, np.generic)
    return not isinstance(value, plain)


def is_part(value: Any) -> bool:
    """Whether a setting is a part, which names its class."""
    return isinstance(value, Mapping) and isinstance(value.get(TARGET), str)


def _without(settings: Mapping[str, Any], names: Any) -> dict[str, Any]:
    left_out = {name for name in names if "." not in name}
    inside: dict[str, set[str]] = {}
    for name in names:
        key, dot, rest = name.partition(".")
        if dot:
            inside.setdefault(key, set()).add(rest)
    found = {}
    for key, value in settings.items():
        if key not in left_out:
            kept = _without(value, inside[key]) if key in inside else value
            if kept != {} or value == {}:
                found[key] = kept
    return found


def _shown(value: Any) -> str:
    return json.dumps(value)
