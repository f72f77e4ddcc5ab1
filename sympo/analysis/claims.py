"""Claims tested on the cells of a sweep: families of paired comparisons and their outcomes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis.choices import at_choice
from sympo.analysis.claim_rules import LEAST_SEEDS, LEVEL, Evidence
from sympo.analysis.claim_sentences import no_outcome, outcome_sentence, too_small
from sympo.analysis.collect import Collection
from sympo.analysis.intervals import Floats, Spread
from sympo.analysis.long_cells import (
    all_settings,
    internal,
    long_cells,
    selected,
    varying,
    written,
)
from sympo.analysis.paired import paired_means
from sympo.metrics import EPOCHS
from sympo.report_settings import FULL, Claim, ReportSettings, Selector

_NO_VALUES = np.zeros(0)


@dataclass(frozen=True)
class DecidedClaims:
    """Claims with their outcomes, in the stored units of their metrics.

    claims: a row per claim: claim, source, kind, metric, margin, outcome (`none` if none is
        stated), comparisons, seeds (the fewest of any comparison), at, difference, low_90, high_90
        (of the smallest difference, or for `equal` of the largest), sentence.
    comparisons: a row per comparison: claim, kind, metric, margin, the settings it is over,
        n_seeds, difference, low, high (95%), low_90, high_90 (which one-sided tests at 5% compare
        with the margin), p, p_holm, p_against, p_against_holm, outcome.
    sentences: to print.
    """

    claims: pd.DataFrame
    comparisons: pd.DataFrame
    sentences: list[str]


@dataclass(frozen=True)
class Family:
    """The paired comparisons of one claim, m of them, and why they have no outcome.

    over: the settings of each. at: the same in words, `ramp, noise 0.3`. mean: (m,) a - b.
    """

    over: pd.DataFrame = field(default_factory=pd.DataFrame)
    at: list[str] = field(default_factory=list)
    mean: Floats = field(default_factory=lambda: _NO_VALUES)
    spread: Spread = field(
        default_factory=lambda: Spread(
            np.zeros(0, dtype=np.int64), _NO_VALUES, _NO_VALUES, _NO_VALUES
        )
    )
    why_not: str = ""


def decide_claims(collection: Collection, settings: ReportSettings) -> DecidedClaims:
    """Test every claim; no outcome is stated below the experiment's full size."""
    rows, tables = [], []
    for claim in settings.claims:
        family = family_of(collection, claim)
        found = Evidence.of(claim.kind, family.mean, family.spread, claim.margin)
        table = _table(claim, family, found)
        rows.append(_row(claim, family, found, table, settings.size))
        tables.append(table)
    claims = pd.DataFrame(rows)
    if settings.size != FULL and rows:
        sentences = [too_small(settings.size)]
    else:
        sentences = [str(row["sentence"]) for row in rows]
    return DecidedClaims(claims, _together(tables), sentences)


def family_of(collection: Collection, claim: Claim) -> Family:
    """The paired comparisons of a claim."""
    which, _, path = claim.metric.partition("/")
    frame, outcomes = long_cells(collection, [path], list(EPOCHS))
    metric = internal(path)
    frame = at_choice(frame, collection.cells, claim.choose)
    finite = np.isfinite(frame[metric].to_numpy(dtype=float, na_value=np.nan))
    frame = frame[selected(frame, claim.where) & finite]
    sides = []
    for name, selector in (("a", claim.a), ("b", claim.b)):
        rows = frame[selected(frame, {"epoch": (which,), **selector})]
        if rows.empty:
            return Family(why_not=f"no cell here is {name} ({_words(selector)}) with a {path}")
        sides.append(rows.assign(variant=name))
    if set(sides[0].index) & set(sides[1].index):
        return Family(why_not="some cells are both a and b")
    rows = pd.concat(sides)
    absent = _absent(rows, claim.where)
    over = [name for name in claim.over if name in rows]
    # `noise` numbers the comparisons: pairing needs no more
    number = rows.groupby(over, dropna=False).ngroup() if over else 0
    rows = rows.assign(**{f"setting {name}": rows[name] for name in over}, noise=number)
    sides_of = rows.groupby("noise")["variant"].transform("nunique")
    if (sides_of == 1).all():
        return Family(why_not=f"a and b have no {_and(claim.over)} in common")
    # a smaller family would be easier to support than the claim is
    lacking = [*_alone(rows[sides_of == 1], over), *absent]
    why_not = f"no cell here has a {path} for {'; '.join(lacking)}" if lacking else ""
    rows = rows[sides_of == 2]
    cell = ["variant", "noise", "seed"]
    if rows.duplicated(cell).any():
        own = frame.loc[rows.index, varying(frame, all_settings(frame))]
        several = own.groupby([rows[name] for name in cell]).nunique(dropna=False).max() > 1
        names = _and(own.columns[several])
        return Family(why_not=f"cells of one seed differ in {names}, which the claim leaves open")
    _, mean, spread = paired_means(rows, [("a", "b")], metric, outcomes)
    settings = _settings_of(rows, over)
    return Family(settings, _at(settings), mean, spread, why_not)


def _settings_of(rows: pd.DataFrame, over: list[str]) -> pd.DataFrame:
    """The settings of each comparison."""
    first = rows.drop_duplicates("noise").sort_values("noise")
    settings = first[[f"setting {name}" for name in over]]
    settings = settings.rename(columns=lambda key: key.removeprefix("setting "))
    return settings.reset_index(drop=True)


def _at(settings: pd.DataFrame) -> list[str]:
    return [
        ", ".join(written(str(name), value) for name, value in row.items())
        for row in settings.to_dict("records")
    ]


def _alone(rows: pd.DataFrame, over: list[str]) -> list[str]:
    """The comparisons that one side lacks: `b at logistic, noise 0.4`."""
    sides = rows.drop_duplicates("noise").sort_values("noise")["variant"]
    return [
        f"{'b' if side == 'a' else 'a'} at {at}"
        for side, at in zip(sides, _at(_settings_of(rows, over)), strict=True)
    ]


def _absent(rows: pd.DataFrame, where: Selector) -> list[str]:
    """The values that `where` lists and no cell has."""
    return [
        f"{name}={value}"
        for name, values in where.items()
        for value in (values if len(values) > 1 else ())
        if not selected(rows, {name: (value,)}).any()
    ]


def _table(claim: Claim, family: Family, found: Evidence) -> pd.DataFrame:
    """A row per comparison."""
    of = {"claim": claim.claim, "kind": claim.kind, "metric": claim.metric, "margin": claim.margin}
    spread, mean = family.spread, family.mean
    half, half_90 = spread.half_width(), spread.half_width(2 * LEVEL)
    numbers = pd.DataFrame(
        {
            "n_seeds": spread.seeds, "difference": mean, "low": mean - half, "high": mean + half,
            "low_90": mean - half_90, "high_90": mean + half_90, "p": found.p,
            "p_holm": found.p_holm, "p_against": found.against,
            "p_against_holm": found.against_holm,
            "outcome": np.select(
                [spread.seeds < LEAST_SEEDS, found.supports, found.contradicts],
                ["none", "supports", "contradicts"], "undecided",
            ),
        }
    )  # fmt: skip
    return pd.concat([pd.DataFrame(of, index=numbers.index), family.over, numbers], axis=1)


def _row(
    claim: Claim, family: Family, found: Evidence, table: pd.DataFrame, size: str
) -> dict[str, Any]:
    """The row of a claim."""
    seeds = int(table["n_seeds"].min()) if len(table) else 0
    if family.why_not:
        outcome, words = "none", no_outcome(claim, family.why_not)
    elif size != FULL:
        outcome, words = (
            "none",
            no_outcome(claim, f"size={size} is too small to be the basis of one"),
        )
    elif seeds < LEAST_SEEDS:
        why = f"it rests on {seeds} shared seed{'s' * (seeds != 1)}, and needs {LEAST_SEEDS}"
        outcome, words = "none", no_outcome(claim, why)
    else:
        outcome = found.outcome
        words = outcome_sentence(claim, outcome, table, family.at)
    size_of = table["difference"].abs() if claim.kind == "equal" else -table["difference"]
    worst = int(size_of.to_numpy().argmax()) if len(table) else None
    return {
        "claim": claim.claim, "source": claim.source, "kind": claim.kind, "metric": claim.metric,
        "margin": claim.margin, "outcome": outcome, "comparisons": len(table), "seeds": seeds,
        "at": "" if worst is None else family.at[worst],
        **{
            key: np.nan if worst is None else float(table[key].iloc[worst])
            for key in ("difference", "low_90", "high_90")
        },
        "sentence": words,
    }  # fmt: skip


def _together(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all claims, with the settings of all in front of the numbers."""
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    columns = list(found.columns)
    first, last = columns[:4], columns[columns.index("n_seeds") :]
    numbers = last[: last.index("outcome") + 1]
    own = [name for name in columns if name not in (*first, *numbers)]
    return found[[*first, *own, *numbers]]


def _words(selector: Selector) -> str:
    """A selector in words: `loss=ramp, noise=0.3 or 0.4`."""
    return ", ".join(
        f"{name}={' or '.join(str(value) for value in values)}" for name, values in selector.items()
    )


def _and(names: Any) -> str:
    return " and ".join(names) or "setting"
