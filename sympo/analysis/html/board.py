"""The numbers of the page's leaderboards: estimates, paired differences and values of cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sympo.analysis.baselines import BASELINES, is_baseline
from sympo.analysis.baselines import path as path_of_baseline
from sympo.analysis.collect import Collection
from sympo.analysis.frames import WHICH, judge_of, over, variants
from sympo.analysis.html.keys import Json, Keys
from sympo.analysis.html.packing import numbers
from sympo.analysis.intervals import LEVEL
from sympo.analysis.paper_values import COLUMN
from sympo.metrics import EPOCHS, metric_of

INTERVALS = {
    "seeds_and_items": "over seeds (Student t) and test items",
    "student_t": "over seeds (Student t)",
    "test_pairs": "1.96 standard errors over the test pairs; says nothing about seeds",
    "validation_pairs": "1.96 standard errors over the validation pairs; says nothing about seeds",
    "prompts": "1.96 standard errors over the prompts; says nothing about seeds",
    "bootstrap_test_pairs": "bootstrap over the test pairs; says nothing about seeds",
    "bootstrap_validation_pairs": "bootstrap over the validation pairs; says nothing about seeds",
    "bootstrap_prompts": "bootstrap over the prompts; says nothing about seeds",
    "none": "nothing varies that was measured",
}


def measured(summary: pd.DataFrame) -> list[str]:
    """The metrics of a summary without their epochs, each once: of metrics with the same numbers,
    such as a win rate that a judge gives again, the first."""
    own = summary[~summary["metric"].map(is_baseline)]
    paths = own["metric"].str.split("/", n=1).str[1]
    by = [name for name in own if name not in _NUMBERS and name not in ("metric", "against")]
    found: dict[str, pd.DataFrame] = {}
    for path, rows in own.assign(which=own["metric"].str.split("/").str[0]).groupby(
        paths, sort=False
    ):
        table = rows.set_index([*by, "which"])[["n_seeds", "mean"]]
        if not any(_same(table, other) for other in found.values()):
            found[str(path)] = table
    return list(found)


_NUMBERS = {
    "n_seeds", "mean", "low", "high", "interval", "missing", "tie_rate", "oracle", COLUMN,
    f"{COLUMN}_source",
}  # fmt: skip


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return (
        len(a) == len(b)
        and a.index.equals(b.index)
        and bool(np.allclose(a.to_numpy(float), b.to_numpy(float), atol=1e-9, equal_nan=True))
    )


def board(
    summary: pd.DataFrame, differences: pd.DataFrame, keys: Keys, metrics: Sequence[str]
) -> Json:
    """Estimates and paired differences, in the units in which metrics are written."""
    against = dict(
        summary.dropna(subset="against")[["metric", "against"]].to_numpy().tolist()
        if "against" in summary
        else []
    )
    longest = int(summary["n_seeds"].max())
    return {
        "settings": keys.settings(),
        "experiments": keys.described(),
        "variants": keys.looks(),
        "noises": keys.noises,
        "seeds": keys.seeds,
        "epochs": list(EPOCHS.values()),
        "metrics": [_metric(path, against) for path in metrics],
        "intervals": list(INTERVALS.values()),
        # by degrees of freedom, from 1, for intervals over chosen seeds
        "t": numbers(stats.t.isf((1 - LEVEL) / 2, np.arange(1, max(longest, 2)))),
        "rows": _rows(summary, keys, metrics),
        "differences": _differences(differences, keys, metrics),
    }


def cell_values(collection: Collection, keys: Keys, metrics: Sequence[str]) -> Json:
    """The place of each cell among experiments, losses, rates and seeds, and its values."""
    cells = collection.cells
    values = {
        f"{number}.{at}": numbers(cells[f"{which}/{path}"], metric_of(path).factor)
        for number, path in enumerate(metrics)
        for at, which in enumerate(WHICH)
        if f"{which}/{path}" in cells
    }
    return {
        **_places(cells, keys, keys.variant(variants(cells))),
        "s": keys.seed(cells["seed"]),
        "values": values,
        "folders": [_tail(folder) for folder in collection.folders],
    }


def _tail(folder: str) -> str:
    """`seed=0-1a2b3c4d` of a run folder, which the rest of its key precedes."""
    return folder.rstrip("/").rpartition("/")[2]


def _metric(path: str, against: dict[str, str]) -> Json:
    unit, judge = metric_of(path), judge_of(f"{WHICH[0]}/{path}")
    opponent = next((against[m] for m in against if m.split("/", 1)[1] == path), "")
    label = f"Win rate by judge {judge} {over(opponent)}" if judge else unit.title
    return {
        "path": path,
        "label": label,
        "unit": unit.unit,
        "note": unit.note,
        "line": unit.line,
    }


def _rows(summary: pd.DataFrame, keys: Keys, metrics: Sequence[str]) -> Json:
    """Rows of the metrics and of the baselines beside them."""
    which = summary["metric"].str.split("/").str[0]
    place = _metric_places(summary["metric"], metrics)
    rows = summary[place >= 0]
    place, which = place[place >= 0], which[place >= 0]
    factors = np.array([metric_of(metrics[at]).factor for at in place])
    kinds = list(INTERVALS)
    found = {
        **_places(rows, keys, keys.variant(rows["variant"])),
        "m": place.tolist(),
        "w": [WHICH.index(one) for one in which],
        "k": rows["n_seeds"].tolist(),
        "mean": numbers(factors * rows["mean"]),
        "low": numbers(factors * rows["low"]),
        "high": numbers(factors * rows["high"]),
        "interval": [kinds.index(kind) for kind in rows["interval"]],
        "missing": rows["missing"].tolist(),
        "tie": numbers(100 * rows["tie_rate"]),
        "oracle": rows["oracle"].astype(int).tolist(),
    }
    if COLUMN in rows:
        found["paper"] = numbers(factors * rows[COLUMN])
    return found


def _differences(frame: pd.DataFrame, keys: Keys, metrics: Sequence[str]) -> Json:
    place = _metric_places(frame["metric"], metrics)
    rows, place = frame[place >= 0], place[place >= 0]
    factors = np.array([metric_of(metrics[at]).factor for at in place])
    return {
        **_places(rows, keys, keys.variant(rows["a"])),
        "b": keys.variant(rows["b"]),
        "m": place.tolist(),
        "w": [WHICH.index(metric.split("/")[0]) for metric in rows["metric"]],
        "k": rows["n_seeds"].tolist(),
        "d": numbers(factors * rows["difference"].astype(float)),
        "low": numbers(factors * rows["low"].astype(float)),
        "high": numbers(factors * rows["high"].astype(float)),
        "p": numbers(rows["p_holm"].astype(float)),
    }


def _places(frame: pd.DataFrame, keys: Keys, variants: list[int]) -> Json:
    return {"e": keys.experiment(frame), "v": variants, "n": keys.noise(frame["noise"])}


def _metric_places(paths: pd.Series, metrics: Sequence[str]) -> np.ndarray:
    """The place of each path with its epoch among the metrics, a baseline's of the metric that it
    stands beside; -1 for others."""
    places = {metric: at for at, metric in enumerate(metrics)}
    for at, metric in enumerate(metrics):
        for name in BASELINES if metric_of(metric).baseline else ():
            places.setdefault(path_of_baseline(name, metric_of(metric)), at)
    return np.array([places.get(one.split("/", 1)[1], -1) for one in paths], dtype=int)
