"""How responses are drawn from a policy."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sympo import ranges
from sympo.ranges import Count, Positive, Range


@dataclass(frozen=True)
class Sampling:
    """The distribution that responses are drawn from, and how many are drawn.

    prompts: number of prompts, one response each; temperature, top_p: of the distribution;
    max_new_tokens: length at which a response is cut off; batch_size: prompts per batch.
    BadArgument if a setting is out of range.
    """

    identity: ClassVar[str] = "sampling"
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    prompts: Count = 1024
    temperature: Positive = 0.7
    top_p: Annotated[float, Range(above=0, most=1)] = 0.95
    max_new_tokens: Count = 512
    batch_size: Count = 64

    def __post_init__(self) -> None:
        ranges.check(self)

    @property
    def exact(self) -> bool:
        """Whether responses follow the model's own distribution."""
        return self.temperature == 1 and self.top_p == 1
