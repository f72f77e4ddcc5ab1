"""The sentence that states the outcome of a claim, made from its numbers."""

from collections.abc import Sequence

import pandas as pd

from sympo.analysis.claim_rules import FULL_SEEDS, Outcome
from sympo.metrics import metric_of
from sympo.report_settings import Claim

_BEGIN = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "undecided": "Undecided at this size",
}


def outcome_sentence(claim: Claim, outcome: Outcome, table: pd.DataFrame, at: Sequence[str]) -> str:
    """`Supported: CLAIM (SOURCE): of 12 comparisons over loss and noise, all lie within 2 points;
    largest difference 0.9 points at ramp, noise 0.3 (90% interval -0.3 to 1.7), 5 seeds.`

    table: the comparisons, with their differences, intervals and outcomes. at: what each compares.
    """
    equal = claim.kind == "equal"
    size = table["difference"].abs() if equal else -table["difference"]
    worst = int(size.to_numpy().argmax())
    row, margin = table.iloc[worst], _margin(claim)
    low, high = (_number(claim, row[end]) for end in ("low_90", "high_90"))
    difference = _amount(claim, row["difference"])
    interval = f"(90% interval {low} to {high}), {_seeds(table)}"
    if len(table) == 1:
        said = f"{_SINGLE[claim.kind][outcome].format(margin=margin)}: {difference} {interval}"
    else:
        count = {
            "supported": len(table),
            "contradicted": int((table["outcome"] == "contradicts").sum()),
            "undecided": int((table["outcome"] == "supports").sum()),
        }[outcome]
        words = _SEVERAL[claim.kind][outcome]
        one = count == 1
        what = words.format(
            margin=margin, count=count or "none", are="is" if one else "are", s="s" * one
        )
        which = "largest" if equal else "smallest"
        said = (
            f"of {len(table)} comparisons over {_listed(claim.over)}, {what}; {which} difference "
            f"{difference} at {at[worst]} {interval}"
        )
    return f"{_BEGIN[outcome]}: {_named(claim)}: {said}."


def no_outcome(claim: Claim, why: str) -> str:
    """A sentence on a claim without an outcome."""
    return f"No outcome: {_named(claim)}: {why}."


def too_small(size: str) -> str:
    """One sentence for all claims of an experiment that is not at its full size."""
    return f"No outcome of any claim: size={size} is too small to be the basis of one."


_SINGLE = {
    "equal": {
        "supported": "the difference lies within {margin}",
        "contradicted": "the difference exceeds {margin}",
        "undecided": "the difference is not shown to lie within {margin} or to exceed it",
    },
    "greater": {
        "supported": "the difference is above {margin}",
        "contradicted": "the difference is below {margin}",
        "undecided": "the difference is not shown to be above or below {margin}",
    },
}
_SEVERAL = {
    "equal": {
        "supported": "all lie within {margin}",
        "contradicted": "{count} exceed{s} {margin}",
        "undecided": "{count} {are} shown to lie within {margin} and none to exceed it",
    },
    "greater": {
        "supported": "all are above {margin}",
        "contradicted": "{count} {are} below {margin}",
        "undecided": "{count} {are} shown to be above {margin} and none to be below",
    },
}


def _named(claim: Claim) -> str:
    return f"{claim.claim} ({claim.source})" if claim.source else claim.claim


def _listed(names: Sequence[str]) -> str:
    words = [name.rpartition(".")[2] for name in names]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _seeds(table: pd.DataFrame) -> str:
    least, most = int(table["n_seeds"].min()), int(table["n_seeds"].max())
    few = f", fewer than the {FULL_SEEDS} of a full result" if least < FULL_SEEDS else ""
    return f"{least if least == most else f'{least} to {most}'} seeds{few}"


def _margin(claim: Claim) -> str:
    unit = metric_of(claim.metric)
    number = f"{unit.factor * claim.margin:g}"
    if number == "0":
        return number
    return (
        f"{number} point{'s' * (number != '1')}"
        if unit.unit == "%"
        else f"{number} {unit.unit}".strip()
    )


def _amount(claim: Claim, value: float) -> str:
    """A difference with its unit: `0.9 points`."""
    unit = metric_of(claim.metric).unit
    number = _number(claim, value)
    word = f"point{'s' * (number != '1')}" if unit == "%" else unit
    return f"{number} {word}".strip()


def _number(claim: Claim, value: float) -> str:
    unit = metric_of(claim.metric)
    written = unit.factor * value
    # a margin below a point needs more digits
    coarse = unit.unit == "%" and not 0 < claim.margin < 0.005
    return f"{written:.1f}" if coarse else f"{written:.3g}"
