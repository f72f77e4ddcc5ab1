"""Judges, their agreement and paired differences, estimated from judged items over all cells.

Intervals are 95%, over the prompts and given the runs: a prompt's items in all cells are drawn
together. The win rate of a cell and its mean over seeds are metrics like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis.frames import group_columns, variants
from sympo.analysis.judged_files import JudgedItems
from sympo.evaluation import verdicts

_ESTIMATES = ["first_shown_wins", "win_rate", "authors_win_rate"]
_ENDS = ["", "_low", "_high"]
_JUDGES = [
    *("which", "judge", "against", "protocol", "cells", "items", "prompts", "shared_prompts"),
    *("equal_rate", "tie_rate", "invalid_rate", "valid_verdicts"),
    *(name + end for name in _ESTIMATES for end in _ENDS),
]
_AGREEMENT = [
    *("which", "against", "a", "b", "cells", "n"),
    *(name + end for name in ("agreement", "kappa") for end in _ENDS),
]
_DIFFERENCES = [
    *("noise", "a", "b", "metric", "n_seeds", "items", "prompts", "difference", "low", "high")
]


@dataclass(frozen=True)
class Judging:
    """Estimates from all verdicts of an experiment; frames without rows if nothing was judged.

    judges: a row per judge: the number of cells, items and prompts; shared_prompts, whether several
        seeds answered the same prompts; equal_rate, the share of equal responses, which are ties
        without a verdict; tie_rate; invalid_rate, the share of items with an unparsable reply;
        valid_verdicts, their number; first_shown_wins (NaN if pairs were shown in one order only);
        win_rate; authors_win_rate, by the paper's protocol on the same verdicts.
    agreement: a row per two judges of the same responses against the same opponent: n items that
        both judged, raw agreement and Cohen's kappa.
    differences: a row per two losses: mean of score(a) - score(b) on the same prompt at the same
        seed, ties half.
    """

    judges: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_JUDGES))
    agreement: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_AGREEMENT))
    differences: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_DIFFERENCES))


def judging(keys: pd.DataFrame, judged: JudgedItems) -> Judging:
    """The estimates of every judged experiment.

    keys: the columns of `cells` up to `oracle`.
    """
    if judged.items.empty:
        return Judging()
    by = group_columns(keys)
    keys = keys.assign(variant=variants(keys))
    tables: dict[str, list[pd.DataFrame]] = {"judges": [], "agreement": [], "differences": []}
    for _, cells in keys.groupby(by, dropna=False):
        items = judged.items[judged.items["cell"].isin(cells.index)]
        shown = judged.verdicts[judged.verdicts["cell"].isin(cells.index)]
        of_cells = cells[["noise", "seed", "variant"]].loc[items["cell"]].reset_index(drop=True)
        items = pd.concat([items.reset_index(drop=True), of_cells], axis=1)
        found = {
            "judges": pd.DataFrame(_judges(items, shown), columns=_JUDGES),
            "agreement": pd.DataFrame(_agreement(items), columns=_AGREEMENT),
            "differences": pd.DataFrame(_differences(items), columns=_DIFFERENCES),
        }
        for name, table in found.items():
            same = cells[by].iloc[[0] * len(table)].reset_index(drop=True)
            if len(table):
                tables[name].append(pd.concat([same, table], axis=1))
    made = {
        name: pd.concat(several, ignore_index=True) for name, several in tables.items() if several
    }
    return Judging(**made)


def _judges(items: pd.DataFrame, shown: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (which, judge), rows in _by(items, "which", "judge"):
        asked = shown[(shown["which"] == which) & (shown["judge"] == judge)]
        both = asked["policy_first"].nunique() > 1
        choice = np.where(both, asked["choice"], np.nan)
        bias = verdicts.position_bias(choice, asked["prompt"].to_numpy(), 0)
        fixed = rows[rows["authors"].notna()]
        win = verdicts.win_rate(rows["score"], rows["prompt"].to_numpy(), 0)
        theirs = verdicts.win_rate(fixed["authors"], fixed["prompt"].to_numpy(), 0)
        prompts, seeds = rows["prompt"].nunique(), rows["seed"].nunique()
        of_seeds = len(rows[["prompt", "seed"]].drop_duplicates())
        yield {
            "which": which,
            "judge": judge,
            "against": rows["against"].iloc[0],
            "protocol": rows["protocol"].iloc[0],
            "cells": rows["cell"].nunique(),
            "items": len(rows),
            "prompts": prompts,
            # languages with few words draw some prompts twice, which is not sharing
            "shared_prompts": seeds > 1 and 2 * prompts <= of_seeds,
            "equal_rate": float((rows["shown"] == 0).mean()),
            **win,
            "invalid_rate": float(rows["invalid"].mean()),
            "valid_verdicts": int(asked["choice"].notna().sum()),
            **bias,
            **{f"authors_{name}": value for name, value in theirs.items()},
        }


def _agreement(items: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (which, against), rows in _by(items, "which", "against"):
        scores = _wide(rows, ["cell", "samples", "id", "prompt"], "judge")
        for a, b in combinations(scores.columns, 2):
            both = scores[[a, b]].dropna().reset_index()
            if len(both):
                found = verdicts.agreement(both[a], both[b], both["prompt"].to_numpy(), 0)
                cells = both["cell"].nunique()
                yield {"which": which, "against": against, "a": a, "b": b, "cells": cells, **found}


def _differences(items: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (which, judge, noise), rows in _by(items, "which", "judge", "noise"):
        scores = _wide(rows, ["seed", "id", "prompt"], "variant")
        for a, b in combinations(scores.columns, 2):
            both = scores[[a, b]].dropna().reset_index()
            if len(both):
                prompt = both["prompt"].to_numpy()
                found = verdicts.paired_difference(both[a], both[b], prompt, 0)
                yield {
                    "noise": noise,
                    "a": a,
                    "b": b,
                    "metric": f"{which}/judge/{judge}/win_rate",
                    "n_seeds": both["seed"].nunique(),
                    "items": len(both),
                    "prompts": len(np.unique(prompt)),
                    "difference": found["difference"],
                    "low": found["difference_low"],
                    "high": found["difference_high"],
                }


def _by(frame: pd.DataFrame, *names: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    yield from frame.groupby(list(names), observed=True)


def _wide(rows: pd.DataFrame, index: list[str], columns: str) -> pd.DataFrame:
    """Scores side by side; an id that occurs twice in one place is ambiguous and left out."""
    unique = rows.drop_duplicates([*index, columns], keep=False)
    return unique.assign(**{columns: unique[columns].astype("str")}).pivot(
        index=index, columns=columns, values="score"
    )
