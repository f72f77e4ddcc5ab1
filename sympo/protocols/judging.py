"""What every judge is: two answers in, a verdict out; who is compared, and in which orders."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from sympo.judges.protocol import PROTOCOLS, Protocol
from sympo.types import BadInput, Comparison, Verdict

OPPONENTS = ("chosen", "rejected", "reference")
SAMPLES = ("last", "selected")

# told of verdicts as they arrive: the number of a comparison and what was said of it
OnVerdict = Callable[[int, Verdict], None]


class JudgeStopped(RuntimeError):
    """A judge could not answer everything: one sentence that says why. What it said is kept, and
    the next run asks for the rest only.

    final: whether it would not answer anything else either.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(frozen=True, kw_only=True)
class Judge(ABC):
    """Settings that every judge shares; a new one says what its verdict on a comparison is.

    against: the answer that a policy's is compared with: the data set's chosen or rejected one, or
        the reference policy's. protocol: a name in `PROTOCOLS`. samples: which of a policy's
        samples are judged, those of its last epoch or of the one that noisy validation selected.
    """

    # settings that cannot change a verdict
    not_asked: ClassVar[frozenset[str]] = frozenset({"against", "protocol", "samples"})

    against: str = "chosen"
    protocol: str = "both_orders"
    samples: list[str] = field(default_factory=lambda: list(SAMPLES), hash=False)

    def check(self) -> None:
        """Refuse settings that cannot work; raises BadInput."""
        for key, known in (("against", OPPONENTS), ("protocol", tuple(PROTOCOLS))):
            if getattr(self, key) not in known:
                raise BadInput(
                    f"judge.{key}={getattr(self, key)} is not known: use one of {', '.join(known)}"
                )
        if not self.samples or set(self.samples) - set(SAMPLES):
            raise BadInput(f"judge.samples={self.samples} must name some of {', '.join(SAMPLES)}")

    @property
    def rule(self) -> Protocol:
        """The protocol itself."""
        return PROTOCOLS[self.protocol]

    def key(self) -> dict[str, Any]:
        """All that a verdict on a given comparison depends on; JSON values."""
        settings = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in self.not_asked and not one.name.startswith("_")
        }
        return {"judge": f"{type(self).__module__}.{type(self).__name__}", **settings}

    def of(self, dataset: Any) -> "Judge":
        """This judge, for answers to a data set's prompts; BadInput where it cannot judge them."""
        return self

    @abstractmethod
    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        """Judge comparisons, in any order, telling each verdict as it arrives.

        Raises JudgeStopped where some got none.
        """

    def known_to_work(self) -> None:  # noqa: B027 most judges need not know
        """Told that verdicts of this judge were read before, so that what it refuses now is about
        the question."""

    def estimate(self, comparisons: Sequence[Comparison]) -> str:
        """What judging them will cost, in a few words; empty where it costs nothing but time."""
        return ""

    def cost(self) -> str:
        """What has been spent so far, in a few words; empty where nothing is counted."""
        return ""
