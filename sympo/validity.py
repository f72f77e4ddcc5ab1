"""Finds faults in the files of a run and describes each in a sentence."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sympo.disk import seal_is_broken
from sympo.metrics import bounds, is_metric

OPTIONS = ("job", "dataset", "loss", "noise_model")
# the summary keys that form the path of a run folder
PLACE = ("job", "dataset", "loss", "noise", "seed", "hash")
NEEDED = (*OPTIONS, "noise", "seed", "hash", "config", "last")


def summary_fault(content: bytes, folder: Sequence[str]) -> str:
    """Why these bytes are not a valid summary of a run; empty if they are.

    folder: the last five parts of the run folder's path.
    """
    try:
        summary = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"it is broken JSON, {error}"
    if not isinstance(summary, dict):
        return "it is not a JSON object"
    if missing := [name for name in NEEDED if summary.get(name) is None]:
        return f"it lacks {missing[0]}"
    return (
        next(filter(None, (_name_fault(summary, name) for name in (*OPTIONS, "hash"))), "")
        or _number_fault(summary)
        or _place_fault(summary, folder)
        or _parts_fault(summary)
        or ("it differs from what the run wrote" if seal_is_broken(content) else "")
    )


def _name_fault(summary: Mapping[str, Any], name: str) -> str:
    value = summary[name]
    return "" if isinstance(value, str) and value else f"{name} is {value!r}, not a name"


def _number_fault(summary: Mapping[str, Any]) -> str:
    noise, seed = summary["noise"], summary["seed"]
    if not _is_number(noise) or not 0 <= noise < 0.5:
        return f"noise is {noise!r}, and must lie in [0, 0.5)"
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        return f"seed is {seed!r}, and must be a whole number of at least 0"
    return ""


def _place_fault(summary: Mapping[str, Any], folder: Sequence[str]) -> str:
    names = [summary[name] for name in PLACE]
    if in_place(folder, *names):
        return ""
    return f"it belongs to another cell, {'/'.join(map(str, names))}"


def in_place(
    folder: Sequence[str], job: str, dataset: str, loss: str, noise: float, seed: int, digest: str
) -> bool:
    """Whether the last five parts of a folder's path match its summary."""
    if len(folder) < len(PLACE) - 1:
        return False
    # folder names keep six digits of the rate
    named = (job, dataset, loss, f"noise={noise:g}", f"seed={seed}-{digest}")
    return tuple(folder[:5]) == named


def _parts_fault(summary: Mapping[str, Any]) -> str:
    for name in ("config", "last", "selected", "files", "outcomes"):
        if not isinstance(summary.get(name, {}), dict):
            return f"{name} is {str(summary[name])[:40]!r}, not an object"
    leaves = summary.get("at_default", [])
    if not isinstance(leaves, list) or not all(isinstance(leaf, str) for leaf in leaves):
        return f"at_default is {str(leaves)[:40]!r}, not a list of settings"
    for which in ("last", "selected"):
        if which in summary and (fault := metrics_fault(summary[which])):
            return f"{which}: {fault}"
    return ""


def metrics_fault(metrics: Any) -> str:
    """Why these are not valid metrics of an evaluation; empty if they are."""
    if not isinstance(metrics, dict):
        return f"{str(metrics)[:40]!r} is not an object"
    for name, value in metrics.items():
        low, high = bounds(name)
        if not is_metric(name) or (value is None and name != "epoch"):
            continue
        if not _is_number(value):
            return f"{name} is {repr(value)[:40]}, not a number"
        if not low <= value <= high:
            return f"{name} is {value}, and must {_words(low, high)}"
    return "" if "epoch" in metrics else "it lacks epoch"


def _words(low: float, high: float) -> str:
    return f"lie in [{low}, {high}]" if high < math.inf else f"be at least {low}"


def _is_number(value: Any) -> bool:
    # math.isfinite raises on integers beyond the largest float
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def history_fault(content: bytes | None, last_epoch: float) -> str:
    """Why these bytes are not the evaluations of a run that ended at `last_epoch`; empty if they
    are."""
    if content is None:
        return "it does not exist"
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            metrics = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"line {number} is broken JSON, {error}"
        if fault := metrics_fault(metrics):
            return f"line {number}: {fault}"
        ended = metrics["epoch"]
    if not content.strip():
        return "it is empty"
    if ended != last_epoch:
        return f"it ends at epoch {ended:g}, the summary at {last_epoch:g}"
    return ""
