"""conf/protocol: every fault of the authors' MNIST code is a switch, off by default."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from experiments.cells import prepare
from experiments.settings import CONF
from sympo.types import BadInput
from tests.helpers.configs import composed

PROTOCOLS = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))
ALONE = [name for name in PROTOCOLS if name not in ("corrected", "faithful")]


def changes(protocol: str) -> dict[str, Any]:
    """The settings that a protocol changes, by their dotted names."""
    plain, other = (
        composed("dataset=mnist", f"protocol={name}")[0] for name in ("corrected", protocol)
    )
    return dict(_leaves(other).items() - _leaves(plain).items())


def _leaves(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        inside = isinstance(value, DictConfig)
        found |= _leaves(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": str(value)}
    return found


def test_the_default_is_corrected() -> None:
    assert composed("dataset=mnist")[0] == composed("dataset=mnist", "protocol=corrected")[0]
    assert composed("dataset=mnist")[1].protocol == "corrected"


def test_faithful_is_every_fault() -> None:
    every: dict[str, Any] = {}
    for name in ALONE:
        one = changes(name)
        assert one and not one.keys() & every.keys()
        every |= one
    assert changes("faithful") == every
    assert every["model.clamp"] == "20" and every["dataset.test_pairs"] == "1000"


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_zero_noise_is_refused_by_that_fault_alone(noise: float) -> None:
    config, choices = composed(f"noise={noise}", "protocol=zero_noise_fails")
    if noise == 0:
        with pytest.raises(BadInput, match=r"noise=0 is not possible .* protocol=corrected"):
            prepare(config, choices)
        return
    cell = prepare(config, choices)
    plain, choices = composed(f"noise={noise}")
    assert cell.folder.path == prepare(plain, choices).folder.path
    assert cell.name.protocol == "zero_noise_fails"


def test_a_protocol_needs_what_it_sets() -> None:
    config, choices = composed("dataset=digits", "protocol=test_from_training")
    named = r"protocol=test_from_training: dataset.official_test=False: there is no such key"
    with pytest.raises(BadInput, match=named):
        prepare(config, choices)
    assert OmegaConf.select(composed("protocol=raw_pixels")[0], "dataset.raw_pixels") is True
