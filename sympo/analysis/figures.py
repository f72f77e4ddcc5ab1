"""The figures of a collection."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from sympo import metrics
from sympo.analysis import estimates
from sympo.analysis.baselines import with_baselines
from sympo.analysis.collect import Collection
from sympo.analysis.frames import WHICH, group_columns, implied, show
from sympo.analysis.judge_plots import agreement_matrix, judged_vs_noise, position_bias
from sympo.analysis.noise_plots import accuracy_vs_noise
from sympo.analysis.paper_values import with_paper_values
from sympo.analysis.style import declared
from sympo.analysis.training_panel import training_estimates, training_panel
from sympo.analysis.training_plots import metric_vs_epochs, metric_vs_kl, reward_vs_digit


@dataclass(frozen=True)
class FigureSpec:
    """A figure: how to estimate its numbers from a collection, and how to draw them.

    axis: of a figure with a point for each loss and noise rate along it; None of other figures.
    """

    name: str
    estimate: Callable[[Collection], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    axis: metrics.Axis | None = None


@dataclass(frozen=True)
class Standing:
    """A figure of one experiment with the estimates that it shows."""

    name: str
    rows: pd.DataFrame
    figure: Figure
    axis: metrics.Axis | None


def _vs_noise(metric: str, collection: Collection) -> pd.DataFrame:
    cells, incomplete = collection.cells, collection.incomplete
    if metrics.metric_of(metric).of_flips:
        cells, incomplete = (frame[frame["noise"] > 0] for frame in (cells, incomplete))
    found = pd.concat(
        [
            estimates.summarise(cells, f"{which}/{metric}", incomplete, collection.outcomes)
            for which in WHICH
        ],
        ignore_index=True,
    )
    found = with_paper_values(found, collection.paper_values)
    return with_baselines(found, collection.cells, metrics.metric_of(metric))


def _vs_epochs(metric: str, collection: Collection) -> pd.DataFrame:
    found = estimates.curve_estimates(collection.curves, metric, collection.incomplete)
    return with_baselines(found, collection.cells, metrics.metric_of(metric))


def _vs_kl(metric: str, collection: Collection) -> pd.DataFrame:
    return estimates.against_kl(collection.curves, metric, collection.incomplete)


def _vs_digit(metric: str, collection: Collection) -> pd.DataFrame:
    return estimates.reward_by_item(collection.cells, "last", collection.incomplete)


def _judged_vs_noise(judge: str, collection: Collection) -> pd.DataFrame:
    """`summarise` of a judge's win rate, with its opponent and protocol."""
    summary = _vs_noise(f"judge/{judge}/win_rate", collection)
    by = group_columns(collection.cells)
    judges = collection.judging.judges
    how = judges.loc[judges["judge"] == judge, [*by, "against", "protocol", "shared_prompts"]]
    return summary.merge(how.drop_duplicates(by), how="left", on=by)


_ALONG: dict[
    metrics.Axis,
    tuple[Callable[[str, Collection], pd.DataFrame], Callable[[pd.DataFrame], Figure]],
] = {
    "noise": (_vs_noise, accuracy_vs_noise),
    "kl": (_vs_kl, metric_vs_kl),
    "epochs": (_vs_epochs, metric_vs_epochs),
    "digit": (_vs_digit, reward_vs_digit),
}
FIGURES = [
    *(
        FigureSpec(
            one.name,
            partial(_ALONG[one.axis][0], one.metric.path),
            _ALONG[one.axis][1],
            one.axis,
        )
        for one in metrics.figures()
    ),
    FigureSpec("training_panel", training_estimates, training_panel, "epochs"),
    FigureSpec("judge_position_bias", lambda made: made.judging.judges, position_bias),
    FigureSpec("judge_agreement", lambda made: made.judging.agreement, agreement_matrix),
]
_NAMES = "|".join([*(spec.name for spec in FIGURES), "judge_.+_win_rate_vs_noise"])
# every file that `draw` and `save_figure` make
FILES = re.compile(rf"({_NAMES})(__.*)?\.(png|pdf)")


def draw(collection: Collection, only: Iterable[str] = ()) -> dict[str, Figure]:
    """Every figure that the collection has numbers for, by file name without suffix.

    Several experiments give one figure each, named by their settings.

    only: the names of the figures to draw, such as accuracy_vs_noise; none for all.
    """
    return {one.name: one.figure for one in standing(collection, only)}


def standing(collection: Collection, only: Iterable[str] = ()) -> list[Standing]:
    """The figures of `draw` with their estimates."""
    with declared(collection.symmetric):
        return _standing(collection, set(only))


def _standing(collection: Collection, wanted: set[str]) -> list[Standing]:
    by = group_columns(collection.cells)
    experiments = collection.cells[by].drop_duplicates()
    redundant = implied(experiments)
    experiments = experiments.drop(columns=redundant)
    figures = []
    for spec in [*FIGURES, *_of_judges(collection)]:
        if wanted and spec.name not in wanted:
            continue
        estimated = spec.estimate(collection)
        for _, rows in estimated.groupby(by, dropna=False) if len(estimated) else ():
            suffix = _suffix(rows.iloc[0], experiments) if len(experiments) > 1 else ""
            figure = spec.draw(rows.drop(columns=redundant))
            figures.append(Standing(spec.name + suffix, rows, figure, spec.axis))
    return figures


def _of_judges(collection: Collection) -> list[FigureSpec]:
    return [
        FigureSpec(
            f"judge_{_file_name(judge)}_win_rate_vs_noise",
            partial(_judged_vs_noise, judge),
            judged_vs_noise,
            "noise",
        )
        for judge in judges_in(collection)
    ]


def judges_in(collection: Collection) -> list[str]:
    return sorted(set(collection.judging.judges["judge"]))


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
