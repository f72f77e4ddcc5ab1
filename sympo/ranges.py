"""Ranges of numeric settings, declared in the setting's type: `epochs: Count`."""

import types
import typing
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal

from sympo.types import BadArgument

# the largest float32, the type of weights; no count needs more than 32 bits
LARGEST_FLOAT = 3.4028234663852886e38
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Range:
    """An interval of numbers: [least, most], or open at `above` and `below`; never NaN or
    infinite."""

    least: float = -LARGEST_FLOAT
    most: float = LARGEST_FLOAT
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: Any) -> bool:
        return (
            self.least <= value <= self.most
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low = f"({self.above:g}" if self.above is not None else f"[{_short(self.least)}"
        high = f"{self.below:g})" if self.below is not None else f"{_short(self.most)}]"
        if self.below is None and self.most == LARGEST_FLOAT:
            bound = "at least" if self.above is None else "above"
            return f"be finite and {bound} {low[1:]}"
        return f"lie in {low}, {high}"


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


Count = Annotated[int, Range(least=1, most=LARGEST)]
Amount = Annotated[int, Range(least=0, most=LARGEST)]
Width = Annotated[int, Range(least=1, most=2**16)]
Seed = Annotated[int, Range(least=0, most=2**63 - 1)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Dropout = Annotated[float, Range(least=0, below=1)]
Rate = Annotated[float, Range(least=0, below=0.5)]
# tokens per pass through a model; auto: as many as fit a GPU's memory
TokensPerPass = Count | Literal["auto"]


def refusal(value: Any, hint: Any) -> str:
    """The rule of its annotated type that a value of the right type breaks; empty if none."""
    if typing.get_origin(hint) is Annotated:
        allowed = typing.get_args(hint)[1]
        if not isinstance(allowed, Range):
            return ""
        whole = typing.get_args(hint)[0] is int
        if not isinstance(value, Integral if whole else Real) or isinstance(value, bool):
            return "be a whole number" if whole else "be a number"
        return "" if value in allowed else str(allowed)
    if typing.get_origin(hint) in (tuple, list):
        part = typing.get_args(hint)[0]
        return next(filter(None, (refusal(item, part) for item in value)), "")
    if _is_union(hint) and value is not None:
        parts = typing.get_args(hint)
        named = [name for part in parts for name in _names(part)]
        if value in named:
            return ""
        words = next(filter(None, (refusal(value, part) for part in parts)), "")
        others = [*named, *(["null"] if type(None) in parts else [])]
        return words and words + "".join(f", or be {other}" for other in others)
    return ""


def _names(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def check(part: Any) -> None:
    """Raise BadArgument for a number of a dataclass that lies outside its range."""
    kind: Any = type(part)
    for key, hint in _hints(kind).items():
        if words := refusal(getattr(part, key), hint):
            raise BadArgument(key, getattr(part, key), f"is not allowed: it must {words}")


@cache
def _hints(part: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(part, include_extras=True)
    return {one.name: hints[one.name] for one in fields(part)}


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
