"""Losses are found by the name that their class declares."""

from typing import Any, ClassVar

import pytest

from sympo import losses
from sympo.losses import DrDPO, MarginLoss, Ramp, TruncatedHinge
from sympo.losses.named import resolved
from sympo.types import BadInput
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_a_name(name: str) -> None:
    rate = {"assumed_rate": 0.1} if name in ("cdpo", "rdpo", "forward") else {}
    assert vars(type(losses.by_name(name, **rate)))["identity"] == name


def test_names_in_any_case_and_settings() -> None:
    assert type(losses.by_name("TruncatedHinge")) is TruncatedHinge
    assert losses.by_name("dr_dpo", temperature=0.5) == DrDPO(0.5)


def test_a_class_of_your_own_is_found_and_its_subclass_is_not_it() -> None:
    class Own(Ramp):
        identity: ClassVar[str] = "own_of_a_test"

    class Below(Own):
        pass

    assert type(losses.by_name("own_of_a_test")) is Own
    assert type(resolved(Below, {})) is Below


@pytest.mark.parametrize(
    ("loss", "settings", "words"),
    [
        ("rampp", {}, ["loss='rampp'", "truncated_hinge"]),
        ("ramp", {"alpha": 1}, ["alpha=1", "no settings"]),
        ("cdpo", {}, ["assumed_rate"]),
        (MarginLoss, {}, ["MarginLoss"]),
        (Ramp(), {"alpha": 1}, ["alpha"]),
        (7, {}, ["loss=7"]),
    ],
)
def test_what_is_refused(loss: Any, settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        resolved(loss, settings)
    assert all(word in str(error.value) for word in words), error.value
