"""What people probably meant by a key or an option that does not exist."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sympo.types import closest

# keys that users do not set
_PLUMBING = ("_target_", "hydra", "progress")


def unknown_option(group: str, option: str, options: Sequence[str]) -> str:
    """The message for an option that a group does not have."""
    within = [one for one in options if option and option in one]
    likely = f"did you mean {' or '.join(within)}?" if within else closest(option, options)
    return f"{group}={option}: there is no such option; {likely}"


def sweep_or_list(argument: str, of_group: bool, quoted: str | None) -> str:
    """The message for several values without -m; quoted: how to write them as one string."""
    if of_group:
        return f"{argument}: add -m to sweep these options"
    hint = f"; quote a single string, {quoted}" if quoted and not _numbers(argument) else ""
    return f"{argument}: add -m to sweep these values, or put a list in brackets{hint}"


def missing_equals(argument: str, config: DictConfig, of_groups: set[str]) -> str | None:
    """The message for `noise 0.3` in place of `noise=0.3`; None if it is not a key and a value."""
    known = of_groups.union(dict(_leaves(OmegaConf.to_container(config))))
    typed = sys.argv[1:]
    after = typed[typed.index(argument) + 1 :] if argument in typed else []
    value = next((word.removeprefix("=") for word in after if word != "="), "=")
    if argument not in known or "=" in value or value.startswith("-"):
        return None
    meant = shlex.quote(f"{argument}={value}")
    return f"{argument} {value}: a key and its value are joined by =; write {meant}"


def _numbers(argument: str) -> bool:
    return re.fullmatch(r"[\d.,eE+-]*", argument.partition("=")[2]) is not None


def elsewhere(key: str, config: DictConfig) -> str | None:
    """`did you mean job.epochs=3?` for `epochs`: the setting of that name, or with these initials,
    in a part of a config; None if there is none. The value is that of the command line."""
    settings = dict(_leaves(OmegaConf.to_container(config)))
    wanted = key.rpartition(".")[2]
    same = [name for name in settings if name.rpartition(".")[2] == wanted]
    same = same or [name for name in settings if _initials(name) == wanted]
    if not same:
        return None
    name = min(same, key=lambda found: found.count("."))  # the first of the shallowest
    return f"did you mean {name}{_typed(key)}?"


def _typed(key: str) -> str:
    """The value given to a key on the command line: `=3`."""
    for argument in sys.argv[1:]:
        name, equals, value = argument.lstrip("+").partition("=")
        if name == key:
            return equals + value
    return ""


def _initials(name: str) -> str:
    """`lr` for `job.learning_rate`."""
    return "".join(word[:1] for word in name.rpartition(".")[2].split("_"))


def _leaves(settings: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        if key not in _PLUMBING:
            yield f"{place}{key}", value
            yield from _leaves(value, f"{place}{key}.")
