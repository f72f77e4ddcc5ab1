"""A part made in Python is the part that its option in conf/ makes, under the same name."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from tests.conftest import ROOT

GROUPS = ("model", "sampler", "loss", "job/margin")
OPTIONS = [path for group in GROUPS for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]
# of the parts of jobs, which are options of no group
ROOMS = r"sympo\.(models|sampling|losses|margins)\b"


def named(path: Path) -> tuple[type, dict[str, Any]]:
    settings: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return get_class(settings.pop("_target_")), settings


def differing(kind: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a YAML that differ from the class's defaults."""
    parameters = inspect.signature(kind).parameters
    return {
        key: value
        for key, value in settings.items()
        # an interpolation takes its default from elsewhere
        if not (isinstance(value, str) and value.startswith("${"))
        and plain(parameters[key].default) != value
    }


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_class_defaults_are_those_of_the_yaml(path: Path) -> None:
    kind, settings = named(path)
    identity = vars(kind)["identity"]
    others = [named(other)[0] for other in path.parent.glob("*.yaml") if other != path]
    if path.stem != identity:  # a variant, such as small_cnn of cnn
        assert path.with_stem(identity).is_file() and kind in others
        return
    assert not differing(kind, settings)
    if dataclasses.is_dataclass(kind):
        fields = {one.name for one in dataclasses.fields(kind) if not one.name.startswith("_")}
        assert fields == set(settings), "the YAML does not show every setting"


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_outside_the_identity_is_a_setting(path: Path) -> None:
    kind: Any = named(path)[0]
    assert kind.outside_identity <= set(inspect.signature(kind).parameters)


def parts(place: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    if isinstance(place, dict):
        target = place.get("_target_")
        if isinstance(target, str) and re.match(ROOMS, target):
            yield get_class(target), {k: v for k, v in place.items() if k != "_target_"}
        for value in place.values():
            yield from parts(value)


def test_parts_of_jobs_have_the_defaults_of_their_class() -> None:
    seen = set()
    for path in sorted(
        [
            *(ROOT / "conf" / "job").rglob("*.yaml"),
            *(ROOT / "conf" / "hydra" / "job_settings").glob("*.yaml"),
        ]
    ):
        for kind, settings in parts(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
            seen.add(kind.identity)
            assert not differing(kind, settings), path
    assert "sampling" in seen
