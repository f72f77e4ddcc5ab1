"""What a hash is made of, and what may change without changing it."""

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import pytest

from sympo.classes import class_at
from sympo.identity import Identity, as_config, identity_of, joined, part_identity, stable_name
from sympo.types import BadInput


@dataclass(frozen=True)
class Inner:
    identity: ClassVar[str] = "inner"

    rate: float = 1.0
    steps: int = 3


@dataclass(frozen=True)
class Part:
    identity: ClassVar[str] = "part"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})

    size: int
    path: str | None = None
    scale: float = 1.0
    inner: Inner = Inner()
    names: dict[str, str] = field(default_factory=lambda: {"a": "b"})


class Child(Part):
    """Inherits all but the name."""


def config(kind: type = Part, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", "size": 1, **settings}


def digest(value: Any, **options: str) -> str:
    return identity_of({"part": value, "noise": 0.3}, options).digest(4)


def elsewhere(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> str:
    """A class as it would be after it moved to another module under another name."""
    module = ModuleType("moved_module")
    setattr(module, name, kind)
    monkeypatch.setitem(sys.modules, "moved_module", module)
    return f"moved_module.{name}"


def test_a_part_is_its_name_and_the_settings_that_differ_from_its_defaults() -> None:
    found = part_identity(config(scale=2.0, path="/here"))
    assert found.hashed == {"_identity_": "part", "size": 1, "scale": 2}
    assert found.settings["inner"] == {"_identity_": "inner", "rate": 1, "steps": 3}
    assert found.at_default == {
        "inner._identity_", "inner.rate", "inner.steps", "names.a"
    }  # fmt: skip
    nested = part_identity(config(inner=config(Inner, steps=4) | {"size": 2}))
    assert nested.hashed["inner"] == {"_identity_": "inner", "steps": 4, "size": 2}


@pytest.mark.parametrize(
    "same",
    [
        {"path": "/there"},
        {"scale": 1},
        {"names": {"a": "b"}},
        {"inner": config(Inner) | {"size": None}},
        {"inner": {"_target_": f"{__name__}.Inner", "rate": 1}},
    ],
)
def test_defaults_and_what_cannot_change_a_number_do_not_count(same: dict[str, Any]) -> None:
    if "size" in same.get("inner", {}):
        del same["inner"]["size"]
    assert digest(config(**same)) == digest(config())


@pytest.mark.parametrize("other", [{"size": 2}, {"scale": 1.5}, {"names": {"a": "c"}}, {"new": 0}])
def test_every_other_setting_counts(other: dict[str, Any]) -> None:
    assert digest(config(**other)) != digest(config())


def test_a_class_that_moves_and_is_renamed_keeps_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    path = elsewhere(monkeypatch, Part, "Renamed")
    assert digest(config() | {"_target_": path}) == digest(config())


def test_a_new_setting_at_its_default_keeps_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Later(Part):
        identity: ClassVar[str] = "part"

        smoothing: float = 0.0
        other: Inner | None = None
        third: Inner = Inner(steps=9)

    path = elsewhere(monkeypatch, Later, "Later")
    assert digest(config() | {"_target_": path}) == digest(config())
    assert digest(config() | {"_target_": path, "smoothing": 0.1}) != digest(config())


def test_a_changed_default_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Changed(Part):
        identity: ClassVar[str] = "part"

        scale: float = 3.0

    before = part_identity(config())
    now = part_identity(config() | {"_target_": elsewhere(monkeypatch, Changed, "Changed")})
    assert now.digest(4) == before.digest(4)
    words = now.contradiction(before.settings, sorted(before.at_default))
    assert words == "scale was 1 by default and is 3 now"
    assert not before.contradiction(before.settings, sorted(before.at_default))


def test_a_default_that_was_null_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Changed(Part):
        identity: ClassVar[str] = "part"

        path: str | None = None
        names: dict[str, str] | None = None  # type: ignore[assignment]

    before = part_identity(config())
    now = part_identity(config() | {"_target_": elsewhere(monkeypatch, Changed, "Changed")})
    assert "names was null by default" not in now.contradiction(before.settings, [])
    assert now.contradiction({"names": 3}, ["names"]) == "names was 3 by default and is null now"


def test_a_class_in_the_place_of_another_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = identity_of({"part": config(Child)}, {"part": "mine"})
    path = f"{__name__}.Child"
    assert now.classes == {"part": path}
    # moved: nothing is left at the old place; replaced: another class is still there
    assert not now.replaced({"part": "gone.Child"}) and not now.replaced({"part": path})
    words = f"part was {__name__}.Inner and is {path} now"
    assert now.replaced({"part": f"{__name__}.Inner"}) == words


def test_names() -> None:
    class TruncatedHinge:
        pass

    assert stable_name(TruncatedHinge) == "truncated_hinge"
    assert stable_name(TruncatedHinge, "mine") == "mine"
    assert stable_name(Part, "mine") == "part"

    class Subclass(Part):
        pass

    Subclass.__name__ = "Part"
    with pytest.raises(BadInput, match="Part needs a name for its results"):
        stable_name(Subclass)
    # a subclass is another part, whatever it inherits
    assert stable_name(Child) == "child"
    assert digest(config(Child)) != digest(config())
    assert digest(config(Child), part="x") != digest(config(Child), part="y")


def test_numbers_and_contents() -> None:
    assert identity_of({"noise": 0}).digest(4) == identity_of({"noise": 0.0}).digest(4)
    some, other = (
        identity_of({"part": config()}, contents={"part": content}) for content in ("a", "b")
    )
    assert some.hashed["part"]["content"] == "a" and some.digest(4) != other.digest(4)


def test_identities_are_joined_and_taken_apart() -> None:
    whole = joined(part=part_identity(config()), seed=1, none=None)
    assert whole["part"] == part_identity(config())
    assert whole.hashed == {"part": {"_identity_": "part", "size": 1}, "seed": 1, "none": None}
    assert whole.without("part.size", "seed").hashed == {
        "part": {"_identity_": "part"}, "none": None
    }  # fmt: skip
    assert whole["none"] == Identity({})


def test_objects_have_the_identity_of_their_config() -> None:
    assert part_identity(Part(1, scale=2.0)) == part_identity(config(scale=2))
    assert as_config(Part(1))["inner"] == {"_target_": f"{__name__}.Inner", "rate": 1.0, "steps": 3}

    class Forgets:
        def __init__(self, size: int) -> None:
            self.twice = 2 * size

    with pytest.raises(BadInput, match="Forgets cannot be recorded"):
        as_config(Forgets(1))


def test_a_class_that_is_gone() -> None:
    with pytest.raises(ImportError):
        class_at("sympo.nowhere.Thing")
    with pytest.raises(ImportError, match="Nothing does not exist"):
        class_at("sympo.margins.Nothing")


# every class that a config could name before names were stable; nothing is ever taken out
ONCE_NAMED = [
    "experiments.policy.FineTuning",
    "experiments.policy.PolicyJob",
    "experiments.preference_stages.Reference",
    "experiments.reward_model.RewardModelJob",
    "experiments.text_reward_model.TextRewardModelJob",
    "sympo.data.digits.Digits",
    "sympo.data.gold_language.GoldLanguage",
    "sympo.data.hh.HH",
    "sympo.data.mnist.MNIST",
    "sympo.data.preferences.PreferenceSet",
    "sympo.data.ultrafeedback.UltraFeedback",
    "sympo.losses.CDPO",
    "sympo.losses.DrDPO",
    "sympo.losses.Exponential",
    "sympo.losses.Hinge",
    "sympo.losses.IPO",
    "sympo.losses.Logistic",
    "sympo.losses.RDPO",
    "sympo.losses.ROPO",
    "sympo.losses.Ramp",
    "sympo.losses.Savage",
    "sympo.losses.Sigmoid",
    "sympo.losses.Square",
    "sympo.losses.TruncatedHinge",
    "sympo.losses.Unhinged",
    "sympo.margins.DPO",
    "sympo.margins.IPO",
    "sympo.margins.SimPO",
    "sympo.models.classifiers.HubReward",
    "sympo.models.classifiers.TinyReward",
    "sympo.models.cnn.CNN",
    "sympo.models.language.Hub",
    "sympo.models.language.TinyLM",
    "sympo.models.sampling.Sampling",
    "sympo.models.sampling.Transformers",
    "sympo.models.sampling_vllm.VLLM",
    "sympo.models.texts.language_models.Hub",
    "sympo.models.tfidf.Tfidf",
    "sympo.noise.AnnotatorDependent",
    "sympo.noise.Asymmetric",
    "sympo.noise.InstanceDependent",
    "sympo.noise.LengthDependent",
    "sympo.noise.SourceDependent",
    "sympo.noise.Symmetric",
]


@pytest.mark.parametrize("path", ONCE_NAMED)
def test_a_class_is_found_where_it_once_was(path: str) -> None:
    kind = class_at(path)
    assert isinstance(kind, type) and "identity" in vars(kind)
