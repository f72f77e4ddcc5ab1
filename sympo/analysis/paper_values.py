"""Numbers of a paper, as a user typed them, beside ours in figures and tables."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sympo.metrics import EPOCHS, METRICS, metric_of
from sympo.types import BadInput, closest

COLUMN = "paper"  # of estimates that have a number beside them, in the metric's stored unit
_REQUIRED = ("source", "dataset", "metric", "values")
_KEYS = (*_REQUIRED, "noise_model")
_BY = ["dataset", "noise_model", "metric", "loss", "noise"]


@dataclass(frozen=True)
class PaperValues:
    """The numbers of one figure or table of a paper.

    source: where it is, `Figure 1`. metric: with its epoch, `last/test/order_accuracy`. values:
        loss -> noise rate -> number, in the metric's stored unit.
    """

    source: str
    dataset: str
    metric: str
    values: Mapping[str, Mapping[float, float]]
    noise_model: str = "symmetric"


def read_paper_values(file: str | Path) -> tuple[PaperValues, ...]:
    """The numbers in a YAML file, a list with a mapping per figure; none if it is empty.

    Values are in the unit of the figure, such as %. BadInput names the file and the key that is
    wrong.
    """
    try:
        content = yaml.safe_load(Path(file).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"paper_values={file} cannot be read: {reason}") from error
    if content is None:
        return ()
    if not isinstance(content, list):
        raise BadInput(f"{file} must hold a list with a mapping for each figure of the paper")
    return tuple(_figure(f"{file}: [{place}]", one) for place, one in enumerate(content))


def with_paper_values(estimates: pd.DataFrame, paper: Sequence[PaperValues]) -> pd.DataFrame:
    """Rows of `summarise` with the paper's number in a column `paper` and its source in
    `paper_source`; unchanged if there is none for these rows.

    A loss with settings of its own, `cdpo (assumed_rate=0.2)`, has none.
    """
    if not paper or estimates.empty:
        return estimates
    rows = [
        (one.dataset, one.noise_model, one.metric, loss, noise, value, one.source)
        for one in paper
        for loss, by_noise in one.values.items()
        for noise, value in by_noise.items()
    ]
    typed = pd.DataFrame(rows, columns=[*_BY, COLUMN, f"{COLUMN}_source"])
    # rates as people write them are equal as texts, unlike 0.1 + 0.2 and 0.3
    keys = ["dataset", "noise_model", "metric", "variant"]
    left = estimates.assign(_rate=estimates["noise"].map("{:g}".format))
    right = typed.assign(_rate=typed["noise"].map("{:g}".format)).rename(
        columns={"loss": "variant"}
    )
    right = right.drop(columns="noise").drop_duplicates([*keys, "_rate"])
    found = left.merge(right, how="left", on=[*keys, "_rate"]).drop(columns="_rate")
    return found if found[COLUMN].notna().any() else estimates


def not_shown(summary: pd.DataFrame, paper: Sequence[PaperValues]) -> list[str]:
    """A sentence for each figure of the paper whose losses have no run here, or only some."""
    found = []
    for one in paper:
        same = (summary["dataset"] == one.dataset) & (summary["noise_model"] == one.noise_model)
        here = set(summary.loc[same & (summary["metric"] == one.metric), "variant"])
        if lacking := [loss for loss in one.values if loss not in here]:
            found.append(
                f"{one.source} of the paper: no run of {', '.join(lacking)} has "
                f"{one.metric} on {one.dataset}"
            )
    return found


def _figure(place: str, given: object) -> PaperValues:
    if not isinstance(given, Mapping):
        raise BadInput(f"{place} must be a mapping with {', '.join(_REQUIRED)}")
    for key in given:
        if key not in _KEYS:
            raise BadInput(f"{place}.{key}: there is no such key; {closest(str(key), _KEYS)}")
    for key in _REQUIRED:
        if key not in given:
            raise BadInput(f"{place}.{key} is missing")
    for key in (*_REQUIRED[:3], "noise_model"):
        if key in given and not isinstance(given[key], str):
            raise BadInput(f"{place}.{key}={given[key]!r} is not allowed: it must be a text")
    metric = _metric(f"{place}.metric", given["metric"])
    losses = _mapping(f"{place}.values", given["values"], "losses to numbers by noise rate")
    values = {
        str(loss): _by_noise(f"{place}.values.{loss}", by_noise, metric)
        for loss, by_noise in losses.items()
    }
    rest = {key: given[key] for key in ("noise_model",) if key in given}
    return PaperValues(given["source"], given["dataset"], metric, values, **rest)


def _metric(place: str, given: str) -> str:
    known = [f"{epoch}/{one.path}" for one in METRICS if "noise" in one.figures for epoch in EPOCHS]
    if given not in known:
        raise BadInput(
            f"{place}={given} is not a metric that is drawn against noise; {closest(given, known)}"
        )
    return given


def _by_noise(place: str, given: object, metric: str) -> dict[float, float]:
    unit = metric_of(metric)
    low, high = unit.written_range
    found = {}
    for noise, value in _mapping(place, given, "noise rates to numbers").items():
        if not _is_number(noise) or not 0 <= noise < 0.5:
            raise BadInput(f"{place}: noise rate {noise!r} is not allowed: it must lie in [0, 0.5)")
        if not _is_number(value) or not low <= value <= high:
            raise BadInput(
                f"{place}.{noise}={value!r} is not allowed: it must be a number in {unit.label} "
                f"from {low:g} to {high:g}"
            )
        found[float(noise)] = value / unit.factor
    return found


def _mapping(place: str, given: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise BadInput(f"{place}={given!r} is not allowed: it must be a mapping from {what}")
    return given


def _is_number(value: Hashable) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
