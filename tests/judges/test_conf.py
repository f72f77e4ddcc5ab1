"""Judges by their YAML, and by their class alone, are the same."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sympo.identity import defaults, normalised
from sympo.judges import Judge

CONF = Path(__file__).parents[2] / "conf" / "judge"


def at(path: Path) -> tuple[type[Judge], dict[str, Any]]:
    settings = yaml.safe_load(path.read_text())
    module, _, name = settings.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name), settings


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_class_defaults_are_those_of_the_yaml(path: Path) -> None:
    kind, settings = at(path)
    assert vars(kind)["identity"] == path.stem
    of_class = {name: normalised(value) for name, value in defaults(kind).items()}
    for name, value in settings.items():
        if value != "${device}":
            assert of_class[name] == normalised(value), name
    assert settings.keys() == of_class.keys()
    assert kind.outside_identity <= of_class.keys()
