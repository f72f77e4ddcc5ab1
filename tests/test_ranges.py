"""Every numeric setting has a range, which is checked before anything is built."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

import pytest
from omegaconf import OmegaConf

from experiments.cells import prepare
from experiments.settings import GROUPS, build, check_keys
from sympo import ranges
from sympo.models.images.cnn import CNN
from sympo.protocols.data import NoiseModel
from sympo.ranges import Count, Positive, Range, Rate
from sympo.types import BadArgument, BadInput
from tests.helpers.configs import MARGINS, OPTIONS, composed

MEANINGLESS = [math.nan, math.inf, -math.inf, 10**400]
ODD = [-1, 0, 2**63, 1e38, *MEANINGLESS]


def numbers(settings: Any, *place: Any) -> Iterator[tuple[Any, ...]]:
    """Where numbers stand, or could: a null may take one."""
    items = settings.items() if isinstance(settings, dict) else enumerate(settings)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, *place, key)
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield (*place, key)


def changed(settings: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(settings)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return changed


OF_GROUPS = [(group, option, []) for group, option in OPTIONS if group in GROUPS] + [
    *(("job", "policy", [f"job/margin={margin}"]) for margin in MARGINS),
    ("job", "reward_model", ["dataset=hh"]),
    ("job", "reward_model", ["dataset=gold_language"]),
]


@pytest.mark.parametrize(("group", "option", "more"), OF_GROUPS)
def test_odd_numbers_are_refused_or_meaningful(group: str, option: str, more: list[str]) -> None:
    config, _ = composed(f"{group}={option}", "assumed_rate=0.2", *more)
    settings = OmegaConf.to_container(config, resolve=True)[group]
    build(group, option, settings)
    for place in numbers(settings):
        # a list is named by its key
        name = ".".join([group, *(key for key in place if isinstance(key, str))])
        for value in ODD:
            try:
                build(group, option, changed(settings, place, value))
            except BadInput as error:
                key = "assumed_rate" if place == ("assumed_rate",) else f"{name}="
                assert key in str(error) and "\n" not in str(error), error
            else:
                assert value not in MEANINGLESS and not math.isnan(value), f"{name}={value}"


def test_settings_of_no_group_have_ranges_too() -> None:
    config, choices = composed()
    settings = OmegaConf.to_container(config, resolve=True)
    of_none = {key: value for key, value in settings.items() if key not in GROUPS}
    found = list(numbers(of_none))
    assert {("noise",), ("seed",), ("threads",), ("progress", "started")} <= set(found)
    for place in found:
        name = ".".join(place)
        for value in MEANINGLESS:
            with pytest.raises(BadInput, match=f"^{name}="):
                prepare(OmegaConf.create(changed(settings, place, value)), choices)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["job.learning_rate=1e400"], "job.learning_rate=inf is not allowed: it must be finite"),
        (["job.learning_rate=nan"], "job.learning_rate=nan is not allowed"),
        (["job.learning_rate=1e300"], "job.learning_rate=1e+300 is not allowed"),
        (["model.hidden=9223372036854775807"], "must lie in [1, 65536]"),
        (["model.channels=[6,0]"], "model.channels=[6, 0] is not allowed"),
        (["model.clamp=nan"], "finite and above 0, or be null"),
        (["seed=9223372036854775808"], "seed=9223372036854775808 is not allowed"),
        (["job=policy", "job.tokens_per_pass=0"], "must lie in [1, 2147483647], or be auto"),
        (
            ["job=policy", "job.tokens_per_pass=atuo"],
            "job.tokens_per_pass='atuo' is not allowed: it must be of type int or auto",
        ),
        (["job=policy", "job.tokens_per_pass=1.5"], "it must be of type int or auto"),
        (["job.epochs=0"], "job.epochs=0 is not allowed: it must lie in [1, 2147483647]"),
        (["job=policy", "model.lora_alpha=-1"], "model.lora_alpha=-1 is not allowed"),
        (["job=policy", "dataset.tokens=9223372036854775808"], "must lie in [2, 4096]"),
        (["job=policy", "job.sft.epochs=-1"], "job.sft.epochs=-1 is not allowed"),
        (
            ["dataset=gold_language", "job.reference.sampling.top_p=0"],
            "job.reference.sampling.top_p=0 is not allowed: it must lie in (0, 1]",
        ),
        (
            ["dataset=gold_language", "job.reference.model.lora_alpha=-1"],
            "job.reference.model.lora_alpha=-1 is not allowed",
        ),
    ],
)
def test_the_sentence_names_key_value_and_range(overrides: list[str], words: str) -> None:
    config, choices = composed(*overrides)
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    assert words in str(error.value)


def test_what_may_be_zero_may() -> None:
    config, choices = composed("job=policy", "job.sft.epochs=0", "job.warmup_steps=0", "noise=0")
    assert prepare(config, choices).job.sft.epochs == 0


@pytest.mark.parametrize(
    ("key", "target", "words"),
    [
        ("dataset", "pathlib.Path", "dataset._target_=pathlib.Path is not a dataset"),
        ("loss", "pathlib.Path", "loss._target_=pathlib.Path is not a loss"),
        (
            "noise_model",
            "builtins.dict",
            "is not a noise model: the class has no cases, rates",
        ),
        ("job.margin", "pathlib.Path", "job.margin._target_=pathlib.Path is not allowed"),
        ("job.sft", "sympo.margins.DPO", "it must be a FineTuning"),
        ("sampler", "os.system", "sampler"),
    ],
)
def test_a_class_of_another_kind_is_not_built(key: str, target: str, words: str) -> None:
    config, choices = composed("job=policy", "allow_external_targets=true")
    OmegaConf.update(config, f"{key}._target_", target)
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    assert words in str(error.value) and "\n" not in str(error.value)


class Scale(Protocol):
    base: float

    def apply(self, x: float) -> float: ...


@dataclass
class Log:
    base: float = 2.0

    def apply(self, x: float) -> float:
        return math.log(x, self.base)


@dataclass
class Mine(NoiseModel):
    """A part as a user might write it."""

    identity: ClassVar[str] = "mine"
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    sizes: tuple[Count, Count]
    scale: Scale | None = None
    mode: Literal["fast", "exact"] = "fast"
    prompts: Mapping[str, str] | None = None
    name: str | list[str] = "x"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise BadArgument("name", self.name, "is not known: use another")

    def rates(self) -> None: ...


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"rate": 1, "name": ["a"], "mode": "exact", "prompts": {"a": "b"}}, ""),
        ({"scale": {"_target_": f"{__name__}.Log", "base": 10}}, ""),
        ({"sizes": [1]}, "sizes=[1] is not allowed: it must be of type tuple[int, int]"),
        ({"sizes": [1, True]}, "sizes=[1, True] is not allowed: it must be of type tuple"),
        ({"sizes": [1, 0]}, "sizes=[1, 0] is not allowed: it must lie in [1, 2147483647]"),
        ({"mode": "slow"}, "it must be fast or exact"),
        ({"prompts": {"a": 1}}, "it must be of type Mapping[str, str] or null"),
        ({"name": [1]}, "name=[1] is not allowed: it must be of type str or list[str]"),
        ({"rate": True}, "rate=True is not allowed: it must be of type float"),
        ({"rate": "1"}, "rate='1' is not allowed: it must be of type float"),
        ({"rat": 1}, "rat=1: there is no such key; did you mean rate?"),
        ({"name": "bad"}, "name=bad is not known: use another"),
        ({"scale": 3}, "scale=3 is not allowed: it must be of type Scale or null"),
        ({"scale": {"base": 3}}, "it must be of type Scale or null"),
        ({"scale": {"_target_": "pathlib.Path"}}, "scale._target_=pathlib.Path is not allowed"),
        ({"scale": {"_target_": f"{__name__}.Log", "base": "x"}}, "scale.base='x' is not allowed"),
        ({"scale": {"_target_": f"{__name__}.Log", "bas": 3}}, "scale.bas=3: there is no such key"),
    ],
)
def test_types_of_settings(settings: dict[str, Any], words: str) -> None:
    settings = {"_target_": f"{__name__}.Mine", "sizes": [1, 2], **settings}
    if not words:
        assert build("noise_model", "mine", settings) == build("noise_model", "mine", settings)
        return
    with pytest.raises(BadInput) as error:
        build("noise_model", "mine", settings)
    assert str(error.value).startswith("noise_model.") and words in str(error.value)


@dataclass
class Part:
    count: Count
    rate: Rate | None = None
    sizes: tuple[Count, ...] = (1,)
    scale: Positive = 1.0
    share: Annotated[float, Range(above=0, most=1)] = 1.0


def test_ranges_of_a_dataclass() -> None:
    ranges.check(Part(1, 0.0, (1, 2), 1e-30, 1.0))
    for part, words in (
        (Part(0), "count=0 is not allowed: it must lie in [1, 2147483647]"),
        (Part(1, 0.5), "rate=0.5 is not allowed: it must lie in [0, 0.5), or be null"),
        (Part(1, None, (1, 0)), "sizes=(1, 0) is not allowed: it must lie in"),
        (Part(1, scale=math.inf), "scale=inf is not allowed: it must be finite and above 0"),
        (Part(1, share=0.0), "share=0.0 is not allowed: it must lie in (0, 1]"),
        (Part(1, share=math.nan), "share=nan"),
    ):
        with pytest.raises(BadInput) as error:
            ranges.check(part)
        assert str(error.value).startswith(words)


def test_types_are_named_without_their_ranges() -> None:
    for kind, words in ((ranges.Seed, "int"), (Count | None, "int or null")):
        with pytest.raises(BadInput, match=f"it must be of type {words}$"):
            check_keys("", {"seed": 1.5}, {"seed": kind})


def test_a_library_user_is_refused_too() -> None:
    with pytest.raises(BadInput, match=r"^dropout=1\.5 is not allowed"):
        CNN(dropout=1.5)
