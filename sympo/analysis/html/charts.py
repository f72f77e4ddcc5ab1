"""Figures as data from which the page draws them: the estimates, and the scales of the PNG."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from sympo.analysis.baselines import BASELINES, baseline_values
from sympo.analysis.comparisons import Drawn
from sympo.analysis.figures import Standing
from sympo.analysis.frames import show
from sympo.analysis.html.keys import Json, Keys, dashes, look
from sympo.analysis.html.packing import numbers
from sympo.analysis.paper_values import COLUMN
from sympo.analysis.style import paired_styles
from sympo.analysis.training_panel import shown_rates
from sympo.metrics import EPOCHS, Metric, metric_of
from sympo.metrics import Axis as Along

GREY = "#9a9a9a"
Key = tuple[str, float]
_X: dict[Along, str] = {"noise": "noise", "epochs": "epoch", "kl": "kl", "digit": "item"}


def standing_chart(one: Standing, keys: Keys) -> Json | None:
    """A figure along an axis; None if it has none, or a single point along training."""
    if one.axis is None:
        return None
    rows = one.rows[one.rows["n_seeds"] > 0]
    x = _X[one.axis]
    if one.axis == "epochs" and rows[x].nunique() < 2:
        return None
    unit = metric_of(rows["metric"].iloc[0])
    panels = _panels(one.figure, one.axis, rows, keys)
    places = {key: at for at, (key, _) in enumerate(panels)}
    panel_of = _keys_of(one.axis, rows)
    kept = np.array([key in places for key in panel_of])
    rows, panel_of = rows[kept], [key for key in panel_of if key in places]
    factors = np.array([metric_of(metric).factor for metric in rows["metric"]])
    variants = keys.variant(rows["variant"])
    points: Json = {
        "p": [places[key] for key in panel_of],
        "s": variants,
        "n": keys.noise(rows["noise"]),
        "x": numbers(rows[x]),
        **_heights(rows, factors),
    }
    if one.axis == "kl":
        points |= {"xlow": numbers(rows["kl_low"]), "xhigh": numbers(rows["kl_high"])}
    return {
        "unit": unit.unit,
        "kind": {"noise": "points", "kl": "trail"}.get(one.axis, "band"),
        "experiment": keys.experiment(rows.head(1))[0],
        "panels": [panel for _, panel in panels],
        "levels": _levels(one, rows, unit),
        "points": points,
    }


def comparison_chart(drawn: Drawn, figure: Figure) -> Json:
    """A comparison of a preset."""
    kept = (drawn.table["n_seeds"] > 0).to_numpy()
    rows = drawn.table[kept]
    unit = metric_of(drawn.comparison.metric)
    held = [
        (epoch, panel)
        for epoch in ("", *EPOCHS)
        for panel in drawn.labels.panels
        if epoch in set(rows["epoch"]) and panel in set(rows["panel"])
    ]
    looks = paired_styles(drawn.labels.looks)
    factors = np.full(len(rows), unit.factor)
    axes = figure.axes
    scaled = axes[0].xaxis.get_transform().transform(rows["x"].to_numpy(dtype=float))
    across = metric_of(drawn.comparison.x).factor if "x_low" in rows else 1.0
    points: Json = {
        "p": [held.index(key) for key in zip(rows["epoch"], rows["panel"], strict=True)],
        "s": [list(looks).index(line) for line in rows["line"]],
        "x": numbers(across * scaled if across != 1 else scaled),
        "shown": [_shown(value, across) for value in rows["x"]],
        **_heights(rows, factors),
        "cells": [of for of, keep in zip(drawn.members, kept, strict=True) if keep],
    }
    if "x_low" in rows:
        points |= {
            "xlow": numbers(rows["x_low"], across), "xhigh": numbers(rows["x_high"], across),
        }  # fmt: skip
    return {
        "unit": unit.unit,
        "kind": "cross" if "x_low" in rows else "points",
        "categories": bool(drawn.labels.categories),
        "experiment": None,
        "series": [look(name, style) for name, style in looks.items()],
        "panels": [_panel(ax) for ax, _ in zip(axes, held, strict=False)],
        "levels": _constants(rows.rename(columns={"line": "variant"}), unit),
        "points": points,
    }


def _heights(rows: pd.DataFrame, factors: np.ndarray) -> Json:
    return {
        "y": numbers(factors * rows["mean"]),
        "low": numbers(factors * rows["low"]),
        "high": numbers(factors * rows["high"]),
        "k": rows["n_seeds"].tolist(),
        "missing": rows["missing"].tolist(),
    }


def _panels(figure: Figure, axis: Along, rows: pd.DataFrame, keys: Keys) -> list[tuple[Key, Json]]:
    """The panels in the order of the figure, with their keys. A panel that shows what another one
    does, as the selected epoch does if it is the last of every cell, is left out."""
    found: list[tuple[Key, Json]] = []
    seen: list[pd.Series] = []
    several = axis != "noise" and rows["metric"].nunique() > 1
    for key, ax in zip(_order(axis, rows), figure.axes, strict=False):
        metric, rate = key
        own = rows[(rows["metric"] == metric) & ((rows["noise"] == rate) | (axis == "noise"))]
        means: pd.Series = own.set_index(["variant", "noise"])["mean"].sort_index().round(9)
        if several and axis in metric_of(metric).figures:  # has a figure of its own
            continue
        if own.empty or (axis == "noise" and any(means.equals(other) for other in seen)):
            continue
        seen.append(means)
        panel = _panel(ax)
        if axis != "noise":
            at = f"noise {show(float(rate))}"
            panel |= {
                "n": keys.noises.index(rate),
                "title": f"{metric_of(metric).label}, {at}" if several else at,
            }
        found.append((key, panel))
    return found


def _order(axis: Along, rows: pd.DataFrame) -> list[Key]:
    """The metric and the noise rate of each panel; panels against the noise rate have them all."""
    names, rates = list(rows["metric"].unique()), np.sort(rows["noise"].unique())
    if axis == "noise":
        return [(name, 0.0) for which in EPOCHS for name in names if name.startswith(which)]
    # a figure of several metrics is the panel on training
    shown = shown_rates(rates) if len(names) > 1 else rates
    return [(name, float(rate)) for name in names for rate in shown]


def _keys_of(axis: Along, rows: pd.DataFrame) -> list[Key]:
    rates = [0.0] * len(rows) if axis == "noise" else rows["noise"].tolist()
    return list(zip(rows["metric"].tolist(), rates, strict=True))


def _panel(ax: Axes) -> Json:
    figure, scale = ax.figure, ax.xaxis.get_transform()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    # panels with a shared axis are labelled in the lowest row
    below = next(filter(None, (other.get_xlabel() for other in [ax, *figure.axes])), "")
    beside = ax.get_ylabel() or figure.get_figure(root=True).get_supylabel()
    return {
        "title": ax.get_title(),
        "xlabel": " ".join(below.split()),
        "ylabel": " ".join(beside.split()),
        "x": numbers(scale.transform(np.array([left, right]))),
        "y": numbers([low, high]),
        "xticks": _ticks(ax.xaxis, left, right),
        "yticks": _ticks(ax.yaxis, low, high),
    }


def _ticks(axis: Axis, low: float, high: float) -> list[list[object]]:
    places = axis.get_majorticklocs()
    labels = axis.get_major_formatter().format_ticks(list(places))
    scaled = axis.get_transform().transform(np.asarray(places, dtype=float))
    return [
        [place, label.replace("\u2212", "-").replace("$", "")]
        for at, place, label in zip(places, numbers(scaled), labels, strict=True)
        if low <= at <= high and place is not None and label
    ]


def _constants(rows: pd.DataFrame, unit: Metric) -> list[Json]:
    """The level lines of a metric: its baselines, or the line that it is marked with."""
    beside = baseline_values(rows, unit)
    if not beside and unit.line is not None:
        return [{"label": f"{show(unit.line)}{unit.unit}", "color": GREY, "dash": [],
                 "y": unit.line}]  # fmt: skip
    return [
        {
            "label": f"{BASELINES[name].title} {value:.1f}{unit.unit}",
            "color": BASELINES[name].color,
            "dash": dashes(BASELINES[name].line),
            "y": value,
        }
        for name, value in beside.items()
    ]


def _levels(one: Standing, rows: pd.DataFrame, unit: Metric) -> list[Json]:
    found = _constants(rows, unit) if rows["metric"].str.split("/").str[-1].nunique() == 1 else []
    if unit.diagonal and one.axis == "noise":
        rates = np.sort(rows["noise"].unique())
        line = list(zip(numbers(rates), numbers(unit.factor * rates), strict=True))
        found.append({"label": "the true rate", "color": GREY, "dash": [], "line": line})
    if one.axis == "digit":
        items = np.sort(rows["item"].dropna().unique())
        true = (items - items.mean()) / items.std()
        line = list(zip(numbers(items), numbers(true), strict=True))
        found.append({"label": "true reward", "color": GREY, "dash": [], "line": line, "wide": 1})
    if COLUMN in rows:
        for metric, own in rows[rows[COLUMN].notna()].groupby("metric", sort=False):
            marks = list(zip(numbers(own["noise"]), numbers(own[COLUMN], unit.factor), strict=True))
            which = str(metric).split("/")[0]
            found.append({"label": "the paper", "color": GREY, "marks": marks, "w": which})
    return found


def _shown(value: float, factor: float) -> str:
    return "" if np.isnan(value) else f"{factor * value:.5g}"
