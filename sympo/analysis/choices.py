"""Cells at the value of a setting that a practitioner would choose, for each loss and noise rate
its own."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from sympo.analysis.frames import KEYS, settings
from sympo.report_settings import Choice

# how far from the KL that is asked for a mean may be, as a share of it
MATCHED = 0.25


def at_choice(frame: pd.DataFrame, cells: pd.DataFrame, choice: Choice | None) -> pd.DataFrame:
    """The rows of long cells, which have all cells once for each epoch, at the chosen value of a
    setting, which they then no longer have as a setting; all rows without a choice."""
    if choice is None:
        return frame
    kept = np.tile(chosen(cells, choice), len(frame) // max(1, len(cells)))
    return frame[kept].drop(columns=choice.setting, errors="ignore")


def chosen(cells: pd.DataFrame, choice: Choice) -> npt.NDArray[np.bool_]:
    """(n,) which cells have the chosen value of a setting.

    Chosen among the cells that agree in every other setting but the seed, by the highest mean of
    `choice.by` over their seeds, or by the mean closest to `choice.nearest`, unless all are further
    than `MATCHED` from it; the first in order on ties. A value with fewer seeds than another one,
    such as a learning rate at which some diverged, is not chosen. A cell without the setting or
    without the metric is kept.
    """
    if choice.setting not in cells or choice.by not in cells:
        return np.ones(len(cells), dtype=bool)
    alike = [name for name in [*KEYS, *settings(cells)] if name not in ("seed", choice.setting)]
    group = cells.groupby(alike, dropna=False, sort=False).ngroup().rename("group")
    scores = pd.concat([group, cells[[choice.setting, choice.by]]], axis=1).dropna()
    each = scores.groupby(["group", choice.setting])[choice.by]
    seeds = each.count()
    means = each.mean()[seeds == seeds.groupby(level=0).transform("max")]
    if choice.nearest is not None:
        means = -(means - choice.nearest).abs()
    best = means.groupby(level=0)
    # the index of the best mean of a group is the group and the value
    of_group = group.map(dict(best.idxmax().tolist()))
    kept = of_group.isna() | (cells[choice.setting] == of_group)
    if choice.nearest is not None:
        far = best.max() < -MATCHED * choice.nearest
        kept &= ~group.isin(far.index[far])
    return np.asarray(kept, dtype=np.bool_)
