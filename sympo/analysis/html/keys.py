"""The numbers by which the parts of the page name experiments, losses, noise rates and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.markers as mpl_markers
import numpy as np
import pandas as pd
from matplotlib.path import Path as Outline

from sympo.analysis.baselines import BASELINES
from sympo.analysis.captions import title
from sympo.analysis.frames import group_columns, implied, show, variants
from sympo.analysis.style import Dashes, LossStyle, Marker, ordered, styles

Json = dict[str, object]
BESIDE = tuple(one.title for one in BASELINES.values())  # rows beside the losses
_COMMANDS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}


@dataclass(frozen=True)
class Keys:
    """Experiments (a row each, with their `group_columns`), variants in the order of legends,
    noise rates and seeds."""

    experiments: pd.DataFrame
    variants: list[str]
    noises: list[float]
    seeds: list[int]

    @classmethod
    def of(
        cls, cells: pd.DataFrame, more: Sequence[str] = (), rates: Sequence[float] = ()
    ) -> "Keys":
        """Of the cells; more: variants without cells, such as baselines; rates: further ones."""
        by = group_columns(cells)
        names = ordered({*variants(cells).unique(), *more} - set(BESIDE))
        return cls(
            cells[by].drop_duplicates().sort_values(by).reset_index(drop=True),
            [*names, *(name for name in BESIDE if name in more)],
            sorted({*cells["noise"].unique().tolist(), *rates}),
            sorted(cells["seed"].unique().tolist()),
        )

    def experiment(self, frame: pd.DataFrame) -> list[int]:
        by = list(self.experiments)
        found = frame[by].merge(self.experiments.assign(place=range(len(self.experiments))),
                                how="left", on=by)  # fmt: skip
        return [int(place) for place in found["place"]]

    def variant(self, names: pd.Series) -> list[int]:
        return _places(names, self.variants)

    def noise(self, rates: pd.Series) -> list[int]:
        return _places(rates, self.noises)

    def seed(self, seeds: pd.Series) -> list[int]:
        return _places(seeds, self.seeds)

    def settings(self) -> list[Json]:
        """The settings in which the experiments differ, with their values."""
        left_out = set(implied(self.experiments))
        return [
            {"name": name, "values": list(dict.fromkeys(self._shown(name)))}
            for name in map(str, self.experiments)
            if name not in left_out and self.experiments[name].nunique(dropna=False) > 1
        ]

    def described(self) -> list[Json]:
        """The title of each experiment and its places in the values of the settings."""
        settings = [(str(one["name"]), one["values"]) for one in self.settings()]
        shown = {name: self._shown(name) for name, _ in settings}
        return [
            {
                "title": self.title(place),
                "at": [
                    list(dict.fromkeys(shown[name])).index(shown[name][place])
                    for name, _ in settings
                ],
            }
            for place in range(len(self.experiments))
        ]

    def title(self, experiment: int) -> str:
        """The title of an experiment, as figures and tables have it."""
        frame = self.experiments.drop(columns=implied(self.experiments))
        return title(frame.iloc[[experiment]].assign(loss=""))

    def looks(self) -> list[Json]:
        """Name and style of each variant; baselines have no marker."""
        known = styles(name for name in self.variants if name not in BESIDE)
        return [
            look(name, known[name]) if name in known else {"name": name, "baseline": True}
            for name in self.variants
        ]

    def _shown(self, name: str) -> list[str]:
        return ["none" if pd.isna(value) else show(value) for value in self.experiments[name]]


def look(name: str, style: LossStyle) -> Json:
    """A line of a figure: its colour, the outline of its marker and its dashes."""
    return {
        "name": name,
        "color": style.color,
        "marker": outline(style.marker),
        "dash": dashes(style.line),
        "family": style.family,
    }


def dashes(line: Dashes) -> list[float]:
    """Lengths of dashes and gaps in widths of the line; empty if it is solid."""
    return [] if isinstance(line, str) else list(line[1])


def outline(marker: Marker) -> str:
    """A marker of matplotlib as an SVG path of about unit radius."""
    style = mpl_markers.MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    parts = []
    for points, code in path.iter_segments():
        if code == Outline.CLOSEPOLY:
            parts.append("Z")
        else:
            # up is positive in matplotlib, down in SVG
            flipped = 2 * points * np.tile([1, -1], len(points) // 2)
            written = " ".join(f"{value:.2f}" for value in flipped)
            parts.append(f"{_COMMANDS[Outline.code_type(code)]}{written}")
    return "".join(parts)


def _places(values: pd.Series, order: Sequence[object]) -> list[int]:
    return [int(place) for place in pd.Categorical(values, categories=list(order)).codes]
