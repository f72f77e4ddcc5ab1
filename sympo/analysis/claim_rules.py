"""The rules by which a family of paired comparisons supports or contradicts a claim.

For a family of differences d = a - b and a margin m, with one-sided tests at 5%:

- `greater` claims that every d exceeds m, `equal` that every |d| is below m (two one-sided tests).
- Supported: every comparison passes its own test. The claim is about all of them, so that this
  intersection-union test is wrong in at most 5% of families without any adjustment.
- Contradicted: some comparison shows the opposite (d < m, or |d| > m), by p adjusted over the
  family by Holm's method. A two-sided p is twice the smaller one.
- Undecided: neither.

Sources: Berger (1982) for intersection-union, Schuirmann (1987) for equivalence, Holm (1979).
"""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from sympo.analysis.intervals import Floats, Spread, holm

LEVEL = 0.05
LEAST_SEEDS = 3  # for any outcome
FULL_SEEDS = 5  # that committed results have
Kind = Literal["equal", "greater"]
Outcome = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Evidence:
    """The tests of the m comparisons of a family; (m,) each.

    p: that the comparison has what the claim says. against: that it has the opposite. p_holm,
    against_holm: adjusted over the family.
    """

    p: Floats
    p_holm: Floats
    against: Floats
    against_holm: Floats

    @classmethod
    def of(cls, kind: Kind, mean: Floats, spread: Spread, margin: float) -> "Evidence":
        """The tests of one family."""
        p, against = p_values(kind, mean, spread, margin)
        return cls(p, holm(p), against, holm(against))

    @property
    def supports(self) -> npt.NDArray[np.bool_]:
        """Which comparisons have what the claim says."""
        return self.p <= LEVEL

    @property
    def contradicts(self) -> npt.NDArray[np.bool_]:
        """Which comparisons have the opposite."""
        return self.against_holm <= LEVEL

    @property
    def outcome(self) -> Outcome:
        """The outcome of the claim."""
        return cast(Outcome, str(outcomes(self.p, self.against_holm)))


def p_values(kind: Kind, mean: Floats, spread: Spread, margin: float) -> tuple[Floats, Floats]:
    """p that differences have what a claim says, and that they have the opposite."""
    above, below = spread.one_sided(mean, margin)
    if kind == "greater":
        return above, below
    above_minus, below_minus = spread.one_sided(mean, -margin)
    return np.maximum(below, above_minus), np.minimum(1, 2 * np.minimum(above, below_minus))


def outcomes(p: Floats, against_holm: Floats) -> npt.NDArray[np.str_]:
    """The outcome of each family; p, against_holm: (..., m)."""
    supported = (p <= LEVEL).all(axis=-1)
    contradicted = (against_holm <= LEVEL).any(axis=-1)
    return np.where(supported, "supported", np.where(contradicted, "contradicted", "undecided"))
