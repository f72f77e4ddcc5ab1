"""Refuses classes from outside the project, unless `allow_external_targets=true` permits them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sympo.classes import in_project
from sympo.types import BadInput

SWITCH = "allow_external_targets"
# what Hydra may build for itself; its other classes can call anything
OF_HYDRA = ("hydra_plugins.", "hydra._internal.core_plugins.", "hydra.experimental.callbacks.")
# keys under which Python's logging takes a class
OF_LOGGING = ("()", "class")


def refuse_external(settings: Any, place: str = "") -> None:
    """Refuse settings, resolved or composed, that name a class from outside the project; raises
    BadInput."""
    for key, path in _targets(settings, place):
        if not _ours(key, path):
            raise BadInput(
                f"{key}={path} is not allowed: this class is not part of the project, and its code "
                f"would run; if you trust it, add {SWITCH}=true"
            )


def refuse_composed(config: DictConfig, overrides: Iterable[str]) -> None:
    """`refuse_external` for a config as composed, Hydra's own settings included.

    The switch counts on the command line and in conf/config.yaml; a preset must not permit itself.
    """
    allowed = OmegaConf.select(config, SWITCH)
    if not allowed:
        refuse_external(config)
    elif not (_given(overrides) or _in_main_config()):
        raise BadInput(
            f"{SWITCH}={allowed} is not allowed in a preset or an option: it takes effect on the "
            "command line, or in conf/config.yaml"
        )


def _given(overrides: Iterable[str]) -> bool:
    return any(one.lstrip("+").partition("=")[0] == SWITCH for one in overrides)


def _in_main_config() -> bool:
    from experiments.settings import CONF

    return bool(OmegaConf.select(OmegaConf.load(CONF / "config.yaml"), SWITCH))


def _ours(key: str, path: str) -> bool:
    if not key.startswith("hydra."):
        return in_project(path)
    return path.startswith("logging." if key.endswith(OF_LOGGING) else OF_HYDRA)


def _targets(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """The key and the path of each class that settings name."""
    if isinstance(value, Mapping | DictConfig):
        for key in value:
            inside = f"{place}.{key}" if place else str(key)
            item = _item(value, key)
            if key == "_target_" or (".logging" in _generic(place) and key in OF_LOGGING):
                yield inside, str(item)
            else:
                yield from _targets(item, inside)
    elif isinstance(value, list | tuple | ListConfig):
        for number in range(len(value)):
            yield from _targets(_item(value, number), f"{place}[{number}]")


def _generic(place: str) -> str:
    return place.replace("job_logging", ".logging").replace("hydra_logging", ".logging")


def _item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except OmegaConfBaseException:  # missing, or refers to what only a job knows
        return None
