"""Run folders -> tidy frames: one row per cell, one row per evaluation of a cell.

Everything works by column, never row by row, because sweeps reach 100,000 cells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sympo.analysis.config_leaves import Defaults, comparable
from sympo.analysis.csv import write_csv
from sympo.analysis.frames import KEYS, WHICH, group_columns, show, variants
from sympo.analysis.intervals import Outcomes
from sympo.analysis.judge_estimates import Judging, judging
from sympo.analysis.judged_files import JudgedFiles
from sympo.analysis.outcome_files import OUTCOMES, read_outcomes, sets_of, write_outcomes
from sympo.analysis.paper_values import PaperValues
from sympo.analysis.provenance import Provenance
from sympo.analysis.run_files import read_runs, warn_of_damage
from sympo.analysis.style import styles
from sympo.runs.folder import run_folders
from sympo.runs.names import CORRECTED
from sympo.types import BadArgument

_OPTIONS = ["job", "dataset", "loss", "noise_model", "model", "filter"]
# of a cell that is trained on all pairs as labelled, which records no filter
_NO_FILTER = "none"
_PATH_KEYS = ["job", "dataset", "loss", "noise", "seed", "hash"]
_TEXT = dict.fromkeys(["job", "dataset", "loss", "noise_model", "model", "protocol", "hash"], "str")


@dataclass(frozen=True)
class Collection:
    """The cells of some run folders.

    cells: one row per complete cell: `KEYS`, every config leaf that differs (dotted names),
        `oracle` (the loss or the filter was given the true noise rate), `symmetric` (the loss
        declares that it is) if some loss is not drawn so by its name, `last/<metric>`,
        `selected/<metric>`, `last/judge/<judge>/<metric>` if it was judged.
    curves: one row per complete cell and evaluation: the same columns up to `oracle`, then `epoch`
        and the scalar metrics.
    incomplete: one row per folder without an intact summary and evaluations, from its path: job,
        dataset, loss, noise, seed, hash; unfinished: those folders.
    judging: estimates from the verdicts over all cells; the verdicts themselves are not kept.
    outcomes: of every test item at the reported epochs, in the order of `cells`.
    set_aside: cells left out of every frame, a sentence per group: cells of one seed that no
        setting distinguishes.
    damaged: a sentence per damaged file; such cells count as incomplete.
    paper_values: numbers of a paper to show beside these.
    folders: of the cells, in their order; none if read from CSVs. provenance: how they were made.

    For example, from a sweep to its table and a figure:

        collection = Collection.from_runs("results/runs")
        print(format_table(summary(collection)))
        figures = draw(collection)
        save_figure(figures["accuracy_vs_noise"], "accuracy")  # accuracy.png and accuracy.pdf
        summarise(collection.cells, "last/train/flipped_memorised")  # any other metric
    """

    cells: pd.DataFrame
    curves: pd.DataFrame
    incomplete: pd.DataFrame
    judging: Judging = field(default_factory=Judging)
    outcomes: Outcomes = field(default_factory=Outcomes)
    set_aside: Sequence[str] = ()
    damaged: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    paper_values: Sequence[PaperValues] = ()
    folders: Sequence[str] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @classmethod
    def from_runs(cls, runs: str | Path | Iterable[str | Path]) -> "Collection":
        """Read a root that contains run folders, or the run folders themselves; raises BadInput if
        the root does not exist."""
        if isinstance(runs, str | Path):
            if not Path(runs).is_dir():
                raise BadArgument("runs", runs, "is not a folder: give one with run folders")
            # sorted by the parts of their paths
            return _collect(sorted(run_folders(runs), key=lambda f: f.replace("/", "\0")))
        # a path's tail names the cell, so a folder given twice is one cell
        unique = {Path(folder).absolute().parts[-5:]: str(folder) for folder in runs}
        return _collect([unique[tail] for tail in sorted(unique)])

    def write(self, out: str | Path) -> list[Path]:
        """Write cells.csv, curves.csv and, if they have rows, incomplete.csv (unfinished runs),
        judges.csv, agreement.csv, judged_differences.csv, outcomes.csv and test_sets.csv."""
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        frames = {"cells": self.cells, "curves": self.curves} | {
            name: frame for name, frame in self._sometimes().items() if len(frame)
        }
        for name, frame in frames.items():
            write_csv(frame, out / f"{name}.csv")
        return [*(out / f"{name}.csv" for name in frames), *write_outcomes(self.outcomes, out)]

    @classmethod
    def read(cls, out: str | Path) -> "Collection":
        """Read what `write` wrote: the same columns, types and values."""
        out = Path(out)
        cells = _read_csv(out / "cells.csv")
        empty = cls(cells, cells, _incomplete_frame([]))._sometimes()
        there = {
            name: _read_csv(out / f"{name}.csv", cells) if (out / f"{name}.csv").exists() else frame
            for name, frame in empty.items()
        }
        return cls(
            cells,
            _read_csv(out / "curves.csv"),
            there["incomplete"],
            Judging(there["judges"], there["agreement"], there["judged_differences"]),
            read_outcomes(out, len(cells)),
            provenance=Provenance.read(out),
        )

    @property
    def symmetric(self) -> dict[str, bool]:
        """Whether the loss of each variant is symmetric, if `cells` says so."""
        if "symmetric" not in self.cells:
            return {}
        every = self.cells["symmetric"].groupby(variants(self.cells)).all()
        return {str(name): bool(value) for name, value in every.items()}

    def _sometimes(self) -> dict[str, pd.DataFrame]:
        """The frames that can be empty."""
        return {
            "incomplete": self.incomplete,
            "judges": self.judging.judges,
            "agreement": self.judging.agreement,
            "judged_differences": self.judging.differences,
        }


def _collect(folders: list[str], set_aside: Sequence[str] = ()) -> Collection:
    runs = read_runs(folders)
    names = {name: _values(runs.summaries, name) for name in [*KEYS, "model", "protocol"]}
    names["protocol"] = [name or CORRECTED for name in names["protocol"]]
    filters = _values(runs.summaries, "config.filter._identity_")
    names["filter"] = [_NO_FILTER if name is None else name for name in filters]
    settings = {
        name.removeprefix("config."): name
        for name in sorted(runs.summaries.column_names)
        if name.startswith("config.")
    }
    leaves = comparable(
        {leaf: runs.summaries[name] for leaf, name in settings.items()},
        Defaults.of(_column(runs.summaries, "at_default")),
        {group: names[group] for group in _OPTIONS},
        runs.complete,
    )
    keys = _key_frame(names, leaves)
    if groups := _of_one_seed(keys):
        again = {runs.complete[place] for places in groups for place in places}
        sentences = [_indistinct([runs.complete[i] for i in at], at, leaves) for at in groups]
        left = [folder for folder in folders if folder not in again]
        return _collect(left, [*set_aside, *sentences])
    judged = JudgedFiles()
    for cell, folder in enumerate(runs.complete):
        judged.read(folder, cell)
    judged_metrics, items = judged.gathered(names["dataset"])
    metrics = {
        f"{which}/{name.removeprefix(f'{which}.')}": runs.summaries[name]
        for which in WHICH
        for name in runs.summaries.column_names
        if name.startswith(f"{which}.")
    }
    symmetric = _symmetric(keys, _values(runs.summaries, "symmetric_loss"))
    cells = pd.concat([keys, symmetric, _numbers(metrics, len(keys)), judged_metrics], axis=1)
    cells = cells.copy()  # into one block per type: pandas warns when a column joins a hundred
    of_cell = runs.evaluations["cell"].to_numpy()
    # the mean reward per item belongs to the end of a run
    measured = {
        name: runs.evaluations[name]
        for name in runs.evaluations.column_names
        if name != "cell" and "/reward_mean/" not in name
    }
    curves = keys.take(of_cell).reset_index(drop=True)
    curves = pd.concat([curves, _numbers(measured, len(curves))], axis=1)
    packed = {
        name.removeprefix(OUTCOMES).replace(".", "/", 1): runs.summaries[name].cast(pa.string())
        for name in runs.summaries.column_names
        if name.startswith(OUTCOMES)
    }
    warn_of_damage(runs.damaged)
    outcomes = Outcomes(packed, sets_of(packed, runs.complete))
    return Collection(
        cells,
        curves,
        _incomplete_frame(runs.incomplete),
        judging(keys, items),
        outcomes,
        set_aside,
        runs.damaged,
        runs.incomplete,
        folders=runs.complete,
        provenance=Provenance.of(runs.summaries),
    )


def _symmetric(keys: pd.DataFrame, recorded: Sequence[bool | None]) -> pd.DataFrame:
    """The column `symmetric`; none if names say the same, or not every cell recorded it."""
    named = [look.family for look in map(styles(keys["loss"]).get, keys["loss"]) if look]
    if None in recorded or list(recorded) == named:
        return pd.DataFrame(index=keys.index)
    return pd.DataFrame({"symmetric": np.array(recorded, dtype=bool)}, index=keys.index)


def _of_one_seed(keys: pd.DataFrame) -> list[np.ndarray]:
    """The places of cells that share a seed and all settings, by group."""
    if keys.empty:
        return []
    by = [*group_columns(keys), "loss", "variant", "noise", "seed"]
    frame = keys.assign(variant=variants(keys))
    repeated = frame[frame.duplicated(by, keep=False)]
    return [rows.index.to_numpy() for _, rows in repeated.groupby(by, dropna=False)]


def _indistinct(
    folders: Sequence[str], places: np.ndarray, leaves: Mapping[str, pa.ChunkedArray]
) -> str:
    """A sentence on cells that are left out, and the leaves in which they still differ."""
    own = {leaf: column.take(pa.array(places)).to_pylist() for leaf, column in leaves.items()}
    differ = [
        f"{leaf} ({', '.join('null' if value is None else show(value) for value in values)})"
        for leaf, values in own.items()
        if any(value != values[0] for value in values)
    ]
    why = f"differ in {', '.join(differ)}" if differ else "have the same settings"
    return f"not drawn: at one seed, {' and '.join(folders)} {why}; keep one of them"


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table[name] if name in table.column_names else pa.chunked_array([pa.nulls(len(table))])


def _values(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [None] * len(table)


def _numbers(columns: dict[str, pa.ChunkedArray], rows: int) -> pd.DataFrame:
    """A column of floats per name; of integers for epochs that are all whole."""
    found = {}
    for name, column in columns.items():
        numbers = column.to_numpy()
        whole = name.split("/")[-1] == "epoch" and bool((numbers % 1 == 0).all())
        found[name] = numbers.astype(np.int64) if whole else numbers
    return pd.DataFrame(found, index=range(rows), copy=False)


def _key_frame(names: dict[str, list[Any]], leaves: dict[str, pa.ChunkedArray]) -> pd.DataFrame:
    """The columns that identify a cell, from the job to `oracle`."""
    if not names["job"]:
        return pd.DataFrame({name: [] for name in [*KEYS, "oracle"]})
    names["noise"] = [float(rate) for rate in names["noise"]]
    frame = pd.DataFrame({name: names[name] for name in KEYS})
    for name in ("model", "protocol", "filter"):
        if len(set(names[name])) > 1:
            frame[name] = names[name]
    for leaf, column in leaves.items():
        if len(pc.unique(column)) > 1:
            values = column.to_pylist()
            group = leaf.split(".")[0]
            # parts without an option, such as the sampler, come with the job
            group = "job" if group not in _OPTIONS and f"{group}._identity_" in leaves else group
            if _differs(leaf, group, values, names):
                frame[leaf] = _leaf_series(values)

    def told(part: str) -> Any:
        rate = leaves.get(f"{part}.assumed_rate")
        assumed = np.nan if rate is None else rate.cast(pa.float64()).to_numpy()
        return np.isclose(assumed, frame["noise"], rtol=0, atol=1e-12)

    return frame.assign(oracle=told("loss") | told("filter"))


def _differs(leaf: str, group: str, values: list[Any], names: dict[str, list[Any]]) -> bool:
    """Whether a leaf adds to the names.

    It does if it takes two values under one option of its group; `loss._identity_` follows from the
    loss's name. A leaf that equals the noise rate or the seed in every cell adds nothing, except in
    a loss, which may assume another rate than the true one.
    """
    if leaf in KEYS:
        return False
    if group in _OPTIONS:
        option = names[group]
        if len(set(zip(option, values, strict=True))) == len(set(option)):
            return False
    if group == "filter":  # cells without a filter have none of its settings
        kept = [place for place, value in enumerate(values) if value is not None]
        values = [values[place] for place in kept]
        names = {key: [names[key][place] for place in kept] for key in ("noise", "seed")}
    return group == "loss" or not any(_repeats(values, names[key]) for key in ("noise", "seed"))


def _repeats(values: list[Any], named: list[Any]) -> bool:
    # null in some cells is a value like any other
    return all(value == name for value, name in zip(values, named, strict=True))


def _leaf_series(values: list[Any]) -> pd.Series:
    """A leaf with the dtype that reading it from CSV gives."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float, type(None)}:
        return pd.Series(values, dtype="int64" if kinds == {int} else "float64")
    if kinds == {bool}:
        return pd.Series(values, dtype=bool)
    return pd.Series([None if value is None else str(value) for value in values])


def _incomplete_frame(folders: list[str]) -> pd.DataFrame:
    """Unfinished runs, from paths job/dataset/loss/noise=<rate>/seed=<seed>-<hash>."""
    rows = []
    for folder in folders:
        job, dataset, loss, noise, last = Path(folder).absolute().parts[-5:]
        seed, _, digest = last.removeprefix("seed=").partition("-")
        rows.append((job, dataset, loss, float(noise.removeprefix("noise=")), int(seed), digest))
    return pd.DataFrame(rows, columns=_PATH_KEYS)


def _read_csv(path: Path, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """Columns shared with `like` get its types: a setting without any value here would be read as
    a number."""
    frame = pd.read_csv(
        path,
        dtype=_TEXT,
        keep_default_na=False,
        na_values=[""],
    )
    if like is None:
        return frame.astype({"noise": float})
    return frame.astype(
        {name: like[name].dtype for name in frame.columns.intersection(like.columns)}
    )
