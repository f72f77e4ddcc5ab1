"""Which setting does what in a comparison, and the labels of its lines, panels and points."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sympo.analysis.frames import variants
from sympo.analysis.long_cells import all_settings, values_of, varying, written
from sympo.analysis.style import ordered
from sympo.report_settings import Comparison

# the columns of `Labels.frame`
POINT = ["epoch", "panel", "line", "x"]


@dataclass(frozen=True)
class Roles:
    """Settings by what they do; those that do not differ, or follow from others, are left out.

    lines, panels: as in `Comparison`; a loss brings its own settings. apart: settings that nothing
    uses, for which cells are not pooled: each combination is a figure of its own. points: the same
    against a metric, where each combination is a point of a line. named: every setting that the
    comparison names, which labels of a loss leave out.
    """

    x: str
    lines: list[str]
    panels: list[str]
    apart: list[str]
    points: list[str]
    named: frozenset[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, comparison: Comparison) -> "Roles":
        x, panels = comparison.x, [comparison.panels] if comparison.panels else []
        lines = [name for name in comparison.lines if name not in (x, *panels)]
        own = [name for name in all_settings(frame) if name.startswith("loss.")]
        of_loss = own if "loss" in (x, *lines, *panels) else []
        used = [*lines, *of_loss, *panels, x, "epoch"]
        used = [name for name in dict.fromkeys(used) if name in frame]
        rest = [name for name in varying(frame, all_settings(frame)) if name not in used]
        if rest:  # settings that follow from those in use separate no cells
            counts = frame.groupby(used, dropna=False)[rest].nunique(dropna=False).max()
            rest = [name for name in rest if counts[name] > 1]
        of_metric = "/" in x
        if not of_metric and not panels and "noise" in rest:
            panels, rest = ["noise"], [name for name in rest if name != "noise"]
        # a loss's own settings may differ although the loss does not
        losses = ["loss"] if "loss" in lines and varying(frame, ["loss", *of_loss]) else []
        differ = {*varying(frame, lines), *losses}
        lines = [name for name in lines if name in differ] or [
            name for name in lines if name in frame
        ][:1]
        named = frozenset([x, *comparison.lines, *panels])
        points, apart = (rest, []) if of_metric else ([], rest)
        return cls(x, lines, varying(frame, panels), apart, points, named)

    @property
    def shown(self) -> list[str]:
        """The settings whose values belong in a table of the figure."""
        of_x = [] if "/" in self.x else [self.x]
        found = dict.fromkeys([*self.apart, *self.panels, *self.lines, *self.points, *of_x])
        return ["epoch", *(name for name in found if name != "epoch")]


@dataclass(frozen=True)
class Labels:
    """The labels of cells in a figure.

    frame: a row per cell: epoch, panel, line, x. looks: of each line, in the order of the legend,
        the value that gives its colour and those that give its kind of line. panels: in order.
    categories: the labels at x = 0, 1, ...; empty if x is a number.
    """

    frame: pd.DataFrame
    looks: dict[str, tuple[str, str]]
    panels: list[str]
    categories: list[str]

    @classmethod
    def of(cls, cells: pd.DataFrame, roles: Roles) -> "Labels":
        names = roles.lines or [""]
        colour = "loss" if "loss" in names else names[0]
        parts = {name: _column(cells, name, roles.named) for name in names}
        kinds = [name for name in names if name != colour]
        joined = pd.DataFrame(
            {
                "line": _joined([parts[name] for name in names]),
                "colour": parts[colour],
                "kind": _joined([parts[name] for name in kinds]) if kinds else "",
            }
        )
        order = pd.DataFrame({name: parts[name].cat.codes for name in [colour, *kinds]})
        rows = order.drop_duplicates().sort_values([colour, *kinds]).index
        looks = {
            str(line): (str(of), str(kind))
            for line, of, kind in joined.loc[rows].itertuples(index=False)
        }
        panel = _column(cells, roles.panels[0], roles.named) if roles.panels else None
        at, categories = _along(cells, roles)
        frame = pd.DataFrame(
            {
                "epoch": "" if "epoch" in roles.lines else cells["epoch"],
                "panel": "" if panel is None else panel.astype("str"),
                "line": joined["line"],
                "x": at,
            },
            index=cells.index,
        )
        return cls(frame, looks, [""] if panel is None else list(panel.cat.categories), categories)


def _along(cells: pd.DataFrame, roles: Roles) -> tuple[pd.Series, list[str]]:
    """x of each cell and its categories; against a metric, the number of its point."""
    if roles.points:
        return cells.groupby(roles.points, dropna=False).ngroup().astype(float), []
    if "/" in roles.x:
        return pd.Series(0.0, index=cells.index), []
    column = cells[roles.x]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float), []
    labels = _column(cells, roles.x, roles.named)
    return labels.cat.codes.astype(float), list(labels.cat.categories)


def _column(cells: pd.DataFrame, name: str, named: frozenset[str]) -> pd.Series:
    """Labels of a setting, categories in order; a loss is labelled by those of its settings that
    are not named."""
    if not name:  # one line, which needs no label
        return pd.Series(pd.Categorical([""] * len(cells)), index=cells.index)
    if name == "loss":
        own = [column for column in cells if column in named and column.startswith("loss.")]
        labels = variants(cells.drop(columns=own))
        return pd.Series(pd.Categorical(labels, ordered(labels)), index=cells.index)
    values = values_of(cells, name)
    by_value = dict(zip(values, (written(name, value) for value in values), strict=True))
    labels = cells[name].map(lambda value: by_value[None if pd.isna(value) else value])
    return pd.Series(pd.Categorical(labels, list(by_value.values())), index=cells.index)


def _joined(columns: Sequence[pd.Series]) -> pd.Series:
    """Labels of several settings in one: `ramp, asymmetric`."""
    found = columns[0].astype("str")
    for column in columns[1:]:
        found = found + ", " + column.astype("str")
    return found
