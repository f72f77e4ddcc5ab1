"""From a collection to what a reader opens: tables, figures, one page."""

import html
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sympo.analysis import estimates, judge_plots, plots
from sympo.analysis.collect import Collection
from sympo.analysis.csv import write_csv
from sympo.analysis.frames import WHICH, group_columns, implied, judge_of, show
from sympo.analysis.tables import format_table, unfinished
from sympo.types import BadInput

# the number that a job is judged by on a data set: the first of these that it measured
HEADLINES = [
    *("test/order_accuracy", "test/label_accuracy"),
    *("policy/win_rate", "test/implicit_accuracy"),
]


@dataclass(frozen=True)
class FigureSpec:
    """A figure: the estimates it needs of a collection, and how they are drawn."""

    name: str
    estimate: Callable[[Collection], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]


def _vs_noise(metric: str) -> Callable[[Collection], pd.DataFrame]:
    return lambda collection: pd.concat(
        [
            estimates.summarise(
                collection.cells, f"{which}/{metric}", collection.incomplete, collection.outcomes
            )
            for which in WHICH
        ],
        ignore_index=True,
    )


def _vs_epochs(metric: str) -> Callable[[Collection], pd.DataFrame]:
    return lambda collection: estimates.curve_estimates(
        collection.curves, metric, collection.incomplete
    )


def _vs_kl(metric: str) -> Callable[[Collection], pd.DataFrame]:
    return lambda collection: estimates.against_kl(collection.curves, metric, collection.incomplete)


def _rewards(collection: Collection) -> pd.DataFrame:
    return estimates.reward_by_item(collection.cells, "last", collection.incomplete)


def _judged_vs_noise(judge: str, collection: Collection) -> pd.DataFrame:
    """`summarise` of a judge's win rate, and how it judged."""
    summary = _vs_noise(f"judge/{judge}/win_rate")(collection)
    by = group_columns(collection.cells)
    judges = collection.judging.judges
    how = judges.loc[judges["judge"] == judge, [*by, "against", "protocol", "shared_prompts"]]
    return summary.merge(how.drop_duplicates(by), how="left", on=by)


FIGURES = [
    FigureSpec("accuracy_vs_noise", _vs_noise("test/order_accuracy"), plots.accuracy_vs_noise),
    FigureSpec("accuracy_vs_epochs", _vs_epochs("test/order_accuracy"), plots.accuracy_vs_epochs),
    FigureSpec(
        "label_accuracy_vs_noise", _vs_noise("test/label_accuracy"), plots.accuracy_vs_noise
    ),
    FigureSpec(
        "label_accuracy_vs_epochs", _vs_epochs("test/label_accuracy"), plots.metric_vs_epochs
    ),
    FigureSpec("win_rate_vs_noise", _vs_noise("policy/win_rate"), plots.accuracy_vs_noise),
    FigureSpec(
        "win_rate_chosen_vs_noise", _vs_noise("policy/win_rate_chosen"), plots.accuracy_vs_noise
    ),
    FigureSpec(
        "implicit_accuracy_vs_noise", _vs_noise("test/implicit_accuracy"), plots.accuracy_vs_noise
    ),
    FigureSpec("win_rate_vs_kl", _vs_kl("policy/win_rate"), plots.metric_vs_kl),
    FigureSpec("gold_reward_vs_kl", _vs_kl("policy/gold_reward"), plots.metric_vs_kl),
    FigureSpec("win_rate_vs_epochs", _vs_epochs("policy/win_rate"), plots.metric_vs_epochs),
    FigureSpec("gold_reward_vs_epochs", _vs_epochs("policy/gold_reward"), plots.metric_vs_epochs),
    FigureSpec(
        "implicit_accuracy_vs_epochs", _vs_epochs("test/implicit_accuracy"), plots.metric_vs_epochs
    ),
    FigureSpec("kl_vs_epochs", _vs_epochs(estimates.KL), plots.metric_vs_epochs),
    FigureSpec(
        "memorised_vs_epochs", _vs_epochs("train/flipped_memorised"), plots.memorised_vs_epochs
    ),
    FigureSpec("reward_vs_digit", _rewards, plots.reward_vs_digit),
    FigureSpec("judge_position_bias", lambda made: made.judging.judges, judge_plots.position_bias),
    FigureSpec(
        "judge_agreement", lambda made: made.judging.agreement, judge_plots.agreement_matrix
    ),
]
_NAMES = "|".join([*(spec.name for spec in FIGURES), "judge_.+_win_rate_vs_noise"])
_SOMETIMES = r"(incomplete|judges|agreement|judged_differences|outcomes|test_sets)\.csv"
_OURS = re.compile(rf"({_NAMES})(__.*)?\.(png|pdf)|{_SOMETIMES}")


@dataclass(frozen=True)
class Report:
    """What `write_report` wrote; table: the closing table as text; figures: the PNGs."""

    folder: Path
    summary: pd.DataFrame
    differences: pd.DataFrame
    figures: list[Path]
    table: str


def summary(collection: Collection) -> pd.DataFrame:
    """The headline metrics and every judge's win rate per loss and noise rate, at the last and the
    selected epoch; `against`, where there are judges, is the opponent of each."""
    table = _of_headlines(
        collection,
        lambda cells, name: estimates.summarise(
            cells, name, collection.incomplete, collection.outcomes
        ),
    )
    judges = collection.judging.judges
    if judges.empty:
        return table
    by = [*group_columns(collection.cells), "judge"]
    opponents = judges[[*by, "against"]].drop_duplicates(by)
    table["judge"] = table["metric"].map(judge_of)
    return table.merge(opponents, how="left", on=by).drop(columns="judge")


def differences(collection: Collection) -> pd.DataFrame:
    """Differences, paired over seeds, of the same metrics."""
    return _of_headlines(
        collection, lambda cells, name: estimates.differences(cells, name, collection.outcomes)
    )


def draw(collection: Collection) -> dict[str, Figure]:
    """Every figure that the collection has numbers for, by file name without suffix.

    One experiment gives plain names; several give one figure each, named by their settings.
    """
    by = group_columns(collection.cells)
    experiments = collection.cells[by].drop_duplicates()
    told = implied(experiments)
    experiments = experiments.drop(columns=told)
    figures = {}
    for spec in [*FIGURES, *_of_judges(collection)]:
        estimated = spec.estimate(collection)
        for _, rows in estimated.groupby(by, dropna=False) if len(estimated) else ():
            suffix = _suffix(rows.iloc[0], experiments) if len(experiments) > 1 else ""
            figures[spec.name + suffix] = spec.draw(rows.drop(columns=told))
    return figures


def _of_judges(collection: Collection) -> list[FigureSpec]:
    return [
        FigureSpec(
            f"judge_{_file_name(judge)}_win_rate_vs_noise",
            partial(_judged_vs_noise, judge),
            judge_plots.judged_vs_noise,
        )
        for judge in _judges(collection)
    ]


def _judges(collection: Collection) -> list[str]:
    return sorted(set(collection.judging.judges["judge"]))


def write_report(collection: Collection, out: str | Path) -> Report:
    """Write the CSVs, the figures and report.html to `out`.

    Everything is made in a folder beside it and then moved in, so a crash leaves no half file.
    Figures of an earlier report that this one does not have are removed.
    """
    if collection.cells.empty:
        raise BadInput("no complete cell: nothing to report")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    numbers, paired = summary(collection), differences(collection)
    said = [format_table(numbers), unfinished(collection.incomplete), *collection.set_aside]
    table = "\n\n".join(filter(None, said))
    with tempfile.TemporaryDirectory(dir=out, prefix=".report-") as name:
        made = Path(name)
        collection.write(made)
        write_csv(numbers, made / "summary.csv")
        write_csv(paired, made / "differences.csv")
        figures = draw(collection)
        page = _page(table, figures, [name for name in _CSVS if (made / f"{name}.csv").exists()])
        (made / "report.html").write_text(page)
        drawn = [plots.save(figure, made / name)[0] for name, figure in figures.items()]
        files = sorted(made.iterdir())
        for old in out.iterdir():
            if _OURS.fullmatch(old.name) and not (made / old.name).exists():
                old.unlink()
        for file in files:
            file.replace(out / file.name)
    return Report(out, numbers, paired, [out / figure.name for figure in drawn], table)


def _of_headlines(
    collection: Collection, estimate: Callable[[pd.DataFrame, str], pd.DataFrame]
) -> pd.DataFrame:
    cells = collection.cells
    headline = pd.Series("", index=cells.index)
    for name in reversed(HEADLINES):
        value = cells.get(f"last/{name}", pd.Series(np.nan, index=cells.index))
        measured = value.groupby([cells["job"], cells["dataset"]]).transform("count") > 0
        headline[measured] = name
    judged = [f"judge/{judge}/win_rate" for judge in _judges(collection)]
    tables = [
        estimate(rows, f"{which}/{name}")
        for (_, first), rows in cells.groupby(["job", headline])
        for name in [*filter(None, [first]), *judged]
        for which in WHICH
    ]
    tables = [table for table in tables if len(table)] or [
        estimate(cells.head(0), f"last/{HEADLINES[0]}")
    ]
    return pd.concat(tables, ignore_index=True)


def _suffix(first: pd.Series, experiments: pd.DataFrame) -> str:
    """`__<dataset>_<noise_model>` and every other setting that differs between experiments."""
    parts = [first["dataset"], first["noise_model"]]
    for name in experiments.columns:
        if name not in ("dataset", "noise_model") and experiments[name].nunique(dropna=False) > 1:
            value = first[name]
            parts.append(f"{name}={show(value) if pd.notna(value) else 'none'}")
    return "__" + "_".join(_file_name(str(part)) for part in parts)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", text).strip("-")


_CSVS = {
    "summary": "summary",
    "differences": "differences, paired over seeds",
    "judges": "judges",
    "agreement": "agreement between judges",
    "judged_differences": "judged differences, paired by prompt, with intervals over the prompts",
    "cells": "cells",
    "curves": "curves",
}


def _page(table: str, figures: dict[str, Figure], csvs: list[str]) -> str:
    images = "\n".join(_image(name, figure) for name, figure in figures.items())
    links = ", ".join(f'<a href="{name}.csv">{_CSVS[name]}</a>' for name in csvs)
    return (
        '<!doctype html><meta charset="utf-8"><title>sympo report</title>\n'
        '<body style="max-width: 60rem; margin: 2rem auto; font-family: sans-serif">\n'
        f"<h1>Results</h1>\n<pre>{html.escape(table)}</pre>\n{images}\n"
        f"<p>Numbers: {links}.</p>\n"
        "</body>\n"
    )


def _image(name: str, figure: Figure) -> str:
    words = html.escape(str(figure.get_label()))
    # in inches, so that letters are of one size in small and large figures
    size = f"width: {figure.get_figwidth():g}in; max-width: 100%"
    return (
        f'<h2 style="font-size: 1.1rem">{words}</h2>\n'
        f'<p><img src="{name}.png" alt="{words}" style="{size}"></p>'
    )
