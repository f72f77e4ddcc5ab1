"""Judges: two responses to a prompt in, a verdict out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from sympo import ranges
from sympo.identity import NAME, part_identity, stable_name
from sympo.judges.protocol import PROTOCOLS
from sympo.judges.protocol import Protocol as Orders
from sympo.types import BadArgument, Comparison, TokenPairs, Verdict, Vocabulary

OPPONENTS = ("chosen", "rejected", "reference")
SAMPLES = ("last", "selected")
Split = Literal["train", "validation", "test"]
# in one text or reply; no model reads or writes as many
MOST_TOKENS = 10_000_000
Tokens = Annotated[int, ranges.Range(least=1, most=MOST_TOKENS)]

# called as verdicts arrive, with the index of the comparison
OnVerdict = Callable[[int, Verdict], None]
GoldReward = Callable[
    [Sequence[npt.NDArray[np.int64]], Sequence[npt.NDArray[np.int64]]], npt.NDArray[np.float64]
]


class JudgedData(Protocol):
    """What judges ask of the data set whose prompts were answered."""

    @property
    def gold_reward(self) -> GoldReward | None:
        """The true reward of prompts and responses, (n,); None if it is not known."""

    def fingerprint(self) -> str:
        """A hash of the data's content."""

    def vocabulary(self, tokenizer: Any) -> Vocabulary:
        """The token ids of a model with this tokenizer; raises BadInput if it cannot read the
        texts."""

    def answered(
        self,
        dialogues: Sequence[Sequence[Mapping[str, str]]],
        first: Sequence[str],
        second: Sequence[str],
        tokenizer: Any,
        max_length: int,
    ) -> TokenPairs:
        """Two responses to each dialogue as token ids; pairs that cannot be written are left out,
        and `pairs.ids` are the indices of the others."""


@dataclass(frozen=True)
class LabelledPair:
    """Two responses to a dialogue and which of them was chosen, with the criterion of the choice
    and the subset of the data set, if there are any."""

    id: int
    prompt: Sequence[Mapping[str, str]]
    chosen: str
    rejected: str
    criterion: str = "helpful"
    subset: str = ""


class LabelledData(JudgedData, Protocol):
    """A data set that has labelled pairs without any model."""

    def check(self) -> None:
        """Raise BadInput for settings and data that cannot work."""

    def labelled(self, split: Split) -> Sequence[LabelledPair]:
        """The pairs of a split with their clean labels."""


class GoldData(JudgedData, Protocol):
    """A data set whose true reward is known."""

    def ids(self, text: str) -> npt.NDArray[np.int64]:
        """The symbols of a text."""


class JudgeStopped(RuntimeError):
    """A judge could not answer everything: one sentence with the reason. Its verdicts are kept, and
    the next run asks only for the rest.

    final: whether it would not answer anything else either.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(frozen=True, kw_only=True)
class Judge(ABC):
    """A judge of pairs of responses; a subclass implements `compare`.

    Its key, under which verdicts are kept, is a stable name and the settings that differ from the
    defaults. Moving the class, or adding a setting whose default gives the verdicts of before,
    leaves verdicts valid; a change of a default needs another `identity`.

    against: the opponent of the policy's response: the data set's chosen or rejected response, or
        the reference policy's. protocol: a name in `PROTOCOLS`. samples: which of a policy's
        samples are judged, those of its last epoch or of the epoch selected by noisy validation.
    """

    # the name of the class in keys; without one it is the option's, or the class's in snake case
    identity: ClassVar[str]
    # settings that cannot change a verdict
    outside_identity: ClassVar[frozenset[str]] = frozenset({"against", "protocol", "samples"})

    against: str = "chosen"
    protocol: str = "both_orders"
    samples: list[str] = field(default_factory=lambda: list(SAMPLES), hash=False)
    _option: str | None = field(default=None, repr=False, compare=False)

    def check(self) -> None:
        """Refuse settings that cannot work; raises BadInput."""
        ranges.check(self)
        for key, value, known in (
            ("against", self.against, OPPONENTS),
            ("protocol", self.protocol, tuple(PROTOCOLS)),
        ):
            if value not in known:
                raise BadArgument(key, value, f"is not known: use one of {', '.join(known)}")
        if not self.samples or set(self.samples) - set(SAMPLES):
            raise BadArgument("samples", self.samples, f"must name some of {', '.join(SAMPLES)}")

    @property
    def trained_in(self) -> Path | None:
        """The run folder in which this judge was trained; None if it is not known."""
        return None

    def named(self, option: str) -> Self:
        """This judge, chosen by the option of a config group."""
        return replace(self, _option=option)

    @property
    def stable_name(self) -> str:
        """The name in keys."""
        return stable_name(type(self), self._option)

    @property
    def rule(self) -> Orders:
        """The protocol itself."""
        return PROTOCOLS[self.protocol]

    def key(self) -> dict[str, Any]:
        """Everything that a verdict on a given comparison depends on; JSON values."""
        differing = {**part_identity(self).hashed, "judge": self.stable_name}
        return {name: value for name, value in differing.items() if name != NAME}

    def of(self, dataset: JudgedData) -> Self:
        """This judge, for responses to a data set's prompts; BadInput if it cannot judge them."""
        return self

    @abstractmethod
    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        """Judge comparisons in any order, reporting each verdict as it arrives.

        Raises JudgeStopped if some got none.
        """

    def known_to_work(self) -> None:  # noqa: B027 most judges need not know
        """Earlier verdicts of this judge were parsed: refusals are now about single questions."""

    def estimate(self, comparisons: Sequence[Comparison]) -> str:
        """The expected cost of judging, in a few words; empty if it costs only time."""
        return ""

    def cost(self) -> str:
        """The cost so far, in a few words; empty if nothing is counted."""
        return ""
