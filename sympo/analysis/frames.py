"""The columns of tidy frames: keys, settings and what follows from them."""

import json
import re
from typing import Any

import pandas as pd

from sympo.metrics import EPOCHS

KEYS = ["job", "dataset", "loss", "noise", "noise_model", "seed"]
WHICH = list(EPOCHS)
_OPPONENTS = {
    "chosen": "the chosen answers",
    "rejected": "the rejected answers",
    "reference": "the reference",
}
_JUDGED = re.compile(rf"(?:{'|'.join(WHICH)})/judge/(.+)/[^/]+")


def before(frame: pd.DataFrame, column: str) -> list[str]:
    """The columns in front of one."""
    columns = list(frame.columns)
    return columns[: columns.index(column)]


def settings(frame: pd.DataFrame) -> list[str]:
    """The columns of differing config leaves: those between the keys and `oracle`."""
    return before(frame, "oracle")[len(KEYS) :]


def group_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that define an experiment: all settings but loss, noise and seed."""
    leaves = [leaf for leaf in settings(frame) if not leaf.startswith("loss.")]
    return ["job", "dataset", "noise_model", *leaves]


def implied(experiments: pd.DataFrame) -> list[str]:
    """The differing settings that follow from data set, model and protocol, so that labels omit
    them.

    experiments: a row each, with their `group_columns`.
    """
    by = [name for name in ("dataset", "model", "protocol") if name in experiments]
    rest = [str(name) for name in experiments if name not in ("job", "noise_model", *by)]
    values = experiments.groupby(by, dropna=False)[rest].nunique(dropna=False).max()
    return [name for name in rest if values[name] == 1 < experiments[name].nunique(dropna=False)]


def variants(frame: pd.DataFrame) -> pd.Series:
    """One label per row: the loss and those of its settings that differ, e.g. `cdpo
    (assumed_rate=0.2)`; `cdpo (oracle)` if each of its cells was given its true noise rate."""
    leaves = [leaf for leaf in settings(frame) if leaf.startswith("loss.")]
    if not leaves:
        return frame["loss"].astype("str")
    # a frame of curves has many rows for each of these
    grouped = frame.groupby(["loss", "oracle", *leaves], dropna=False, sort=False)
    distinct = grouped[["loss", "oracle", *leaves]].head(1).reset_index(drop=True)
    labels = _labels(distinct, leaves).to_numpy()
    return pd.Series(labels[grouped.ngroup()], index=frame.index, dtype="str")


def _labels(frame: pd.DataFrame, leaves: list[str]) -> pd.Series:
    labels = frame["loss"].astype(object)
    for loss, rows in frame.groupby("loss"):
        varying = [leaf for leaf in leaves if rows[leaf].nunique(dropna=False) > 1]
        oracle = "loss.assumed_rate" in varying and bool(rows["oracle"].all())
        if oracle:
            varying.remove("loss.assumed_rate")
        by = varying or ["loss"]
        for _, same in rows.groupby(by, dropna=False):
            parts = ["oracle"] * oracle + [
                f"{leaf.removeprefix('loss.')}={show(same[leaf].iloc[0])}"
                for leaf in varying
                if pd.notna(same[leaf].iloc[0])
            ]
            labels.loc[same.index] = f"{loss} ({', '.join(parts)})" if parts else str(loss)
    return labels


def judge_of(metric: str) -> str | None:
    """The judge of a metric, `gold` for `last/judge/gold/win_rate`; None if it is not judged."""
    found = _JUDGED.fullmatch(metric)
    return found and found[1]


def over(against: str) -> str:
    """The opponent of a judge's comparisons in words: `over the reference`."""
    return f"over {_OPPONENTS.get(against, against)}"


def show(value: object) -> str:
    """A setting as people write it: 30, not 30.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings -> dotted leaves; a list is one leaf, as JSON text."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return flat
