"""Cells in long form, a row per cell and reported epoch, so that the epoch is a setting like any
other, with relabelling and selection by settings."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from sympo.analysis.collect import Collection
from sympo.analysis.frames import KEYS, before, settings, show
from sympo.analysis.intervals import Outcomes
from sympo.metrics import EPOCHS
from sympo.report_settings import Selector, Value

_ENDS = ("", "_se", "_low", "_high")
Mask = npt.NDArray[np.bool_]


def long_cells(
    collection: Collection, paths: Sequence[str], epochs: Sequence[str]
) -> tuple[pd.DataFrame, Outcomes]:
    """The cells at these epochs with the outcomes of their rows.

    Columns: those up to `oracle`, with `epoch` in front of it, then `internal(path)` with its
    standard error and interval, and the tie rate.
    """
    cells, tables = collection.cells, []
    keys = before(cells, "oracle")
    for which in epochs:
        made = cells[keys].assign(epoch=which, oracle=cells["oracle"])
        own: dict[str, pd.Series] = {}
        for path in paths:
            own |= {
                internal(path) + end: cells.get(f"{which}/{path}{end}", _nothing(cells))
                for end in _ENDS
            }
            ties = f"{path.rpartition('/')[0]}/tie_rate"
            own[internal(ties)] = cells.get(f"{which}/{ties}", _nothing(cells))
        tables.append(pd.concat([made, pd.DataFrame(own, index=cells.index)], axis=1))
    outcomes = collection.outcomes.stacked(
        {internal(path): [f"{which}/{path}" for which in epochs] for path in paths}, len(cells)
    )
    return pd.concat(tables, ignore_index=True), outcomes


def internal(path: str) -> str:
    """The column of a metric in long cells; a judge's metrics are recognised by their epoch."""
    return f"{next(iter(EPOCHS))}/{path}"


def selected(frame: pd.DataFrame, by: Selector) -> Mask:
    """(n,) which rows have one of the given values of each setting; none if a setting has no
    column, since its value is then unknown."""
    chosen = np.ones(len(frame), dtype=bool)
    for name, values in by.items():
        of = [_equal(frame[name], value) for value in values] if name in frame else []
        chosen &= np.logical_or.reduce(of) if of else np.zeros(len(frame), dtype=bool)
    return chosen


def varying(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of some settings that take several values."""
    return [name for name in names if name in frame and frame[name].nunique(dropna=False) > 1]


def all_settings(frame: pd.DataFrame) -> list[str]:
    """Every setting of long cells but the seed."""
    return [*(key for key in KEYS if key != "seed"), *settings(frame)]


def values_of(frame: pd.DataFrame, name: str) -> list[Value]:
    """The distinct values of a setting, sorted: numbers by size, others by name, none last."""
    found: list[Value] = list(pd.unique(frame[name].dropna()))
    found.sort(key=lambda value: (isinstance(value, str), value))
    return [*found, *([None] if frame[name].isna().any() else [])]


def written(name: str, value: Value) -> str:
    """A setting's value in a label: `ramp`, `noise 0.3`, `train_pairs=500`."""
    if value is None or value != value:
        return "none" if "." not in name else f"{name.rpartition('.')[2]}=none"
    if name == "noise":
        return f"noise {show(float(value))}"
    if name == "epoch":
        return f"{value} epoch"
    return show(value) if "." not in name else f"{name.rpartition('.')[2]}={show(value)}"


def _equal(column: pd.Series, value: Value) -> Mask:
    if value is None:
        return np.asarray(column.isna())
    if isinstance(value, str) and pd.api.types.is_numeric_dtype(column):
        value = _as_number(value)
    if isinstance(value, bool | str):
        return np.asarray(column.astype("str") == str(value), dtype=np.bool_)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    return np.asarray(np.isclose(numbers, float(value), rtol=1e-9, atol=0), dtype=np.bool_)


def _as_number(value: str) -> str | float:
    """`3e-4` is a text in YAML, but a number in a config."""
    try:
        return float(value)
    except ValueError:
        return value


def _nothing(cells: pd.DataFrame) -> pd.Series:
    return pd.Series(np.nan, index=cells.index)
