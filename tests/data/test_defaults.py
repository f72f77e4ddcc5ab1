"""Data sets and noise models built from Python are those of conf/."""

import dataclasses
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import sympo.data
from tests.conftest import ROOT

OPTIONS = sorted(
    [*(ROOT / "conf" / "dataset").glob("*.yaml"), *(ROOT / "conf" / "noise_model").glob("*.yaml")]
)


def option(path: Path) -> tuple[type, dict[str, Any]]:
    """The class that an option selects, and its settings."""
    found = yaml.safe_load(path.read_text())
    settings = dict(found.get(path.parent.name, found))
    module, _, name = settings.pop("_target_").rpartition(".")
    settings.pop("defaults", None)
    return getattr(import_module(module), name), settings


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_class_defaults_are_those_of_the_yaml(path: Path) -> None:
    kind, settings = option(path)
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    assert dataclasses.MISSING not in fields.values(), "every setting has a default"
    assert settings == {key: fields[key] for key in settings}
    kind()


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_identity_is_the_options_name(path: Path) -> None:
    kind: Any = option(path)[0]
    assert kind.__dict__["identity"] == path.stem
    assert kind.outside_identity <= {field.name for field in dataclasses.fields(kind)}


def test_importing_data_sets_is_light() -> None:
    check = (
        "import sys, sympo.data as data; [getattr(data, name) for name in data.__all__]; "
        "assert not {'torch', 'transformers', 'datasets', 'pandas', 'sklearn'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there() -> None:
    assert all(isinstance(getattr(sympo.data, name), type) for name in sympo.data.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        sympo.data.Nothing  # noqa: B018
