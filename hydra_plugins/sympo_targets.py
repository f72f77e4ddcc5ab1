"""Refuses classes from outside the project in every config, before Hydra builds anything from it.

Hydra creates callbacks right after composing and offers no hook in between, so its loader is
wrapped.
"""

from functools import wraps
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

compose = ConfigLoaderImpl._load_configuration_impl


@wraps(compose)
def checked(
    self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *more: Any, **named: Any
) -> DictConfig:
    # when first needed: this module is imported at every start
    from experiments.external_targets import refuse_composed

    config = compose(self, config_name, overrides, *more, **named)
    refuse_composed(config, overrides)
    return config


if not hasattr(compose, "__wrapped__"):  # Hydra imports plugins again in some tests
    ConfigLoaderImpl._load_configuration_impl = checked  # type: ignore[method-assign]
