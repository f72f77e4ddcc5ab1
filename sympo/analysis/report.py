"""From a collection to a report: CSVs, figures, one HTML page."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sympo.analysis import estimates, paired
from sympo.analysis.baselines import summarise_baselines
from sympo.analysis.canvas import mark, save_figure
from sympo.analysis.claims import decide_claims
from sympo.analysis.collect import Collection
from sympo.analysis.comparison_plots import comparison_figure
from sympo.analysis.comparisons import Drawn, compare
from sympo.analysis.csv import write_csv
from sympo.analysis.figures import FILES, Standing, judges_in, standing
from sympo.analysis.frames import WHICH, group_columns, judge_of
from sympo.analysis.html import build, render
from sympo.analysis.latex import latex_table
from sympo.analysis.paper_values import not_shown, with_paper_values
from sympo.analysis.style import declared
from sympo.analysis.tables import format_table, unfinished
from sympo.disk import remove_litter, temporary_name
from sympo.metrics import HEADLINES, metric_of
from sympo.report_settings import FILE, ReportSettings
from sympo.types import BadInput, printable

# files that only some reports have
_SOMETIMES = re.compile(
    r"((incomplete|judges|agreement|judged_differences|outcomes|test_sets|claims|comparisons)\.csv"
    rf"|summary\.tex|{re.escape(FILE)})"
)


@dataclass(frozen=True)
class Report:
    """A written report; table: the closing table as text; figures: the PNGs; claims: a sentence of
    outcome for each; page: report.html."""

    folder: Path
    summary: pd.DataFrame
    differences: pd.DataFrame
    figures: list[Path]
    table: str
    claims: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        return self.folder / "report.html"


def summary(collection: Collection) -> pd.DataFrame:
    """The headline metrics and every judge's win rate per loss and noise rate, at the last and the
    selected epoch, then their baselines, where measured; with judges, `against` is the opponent of
    each."""
    table = _of_headlines(
        collection,
        lambda cells, name: estimates.summarise(
            cells, name, collection.incomplete, collection.outcomes
        ),
    )
    table = with_paper_values(table, collection.paper_values)
    beside = [
        summarise_baselines(collection.cells, name, collection.outcomes)
        for name in table["metric"].unique()
        if metric_of(name).baseline
    ]
    table = pd.concat([table, *filter(len, beside)], ignore_index=True)
    judges = collection.judging.judges
    if judges.empty:
        return table
    by = [*group_columns(collection.cells), "judge"]
    opponents = judges[[*by, "against"]].drop_duplicates(by)
    table["judge"] = table["metric"].map(judge_of)
    return table.merge(opponents, how="left", on=by).drop(columns="judge")


def differences(collection: Collection) -> pd.DataFrame:
    """Differences between losses in the same metrics, paired over seeds."""
    return _of_headlines(
        collection, lambda cells, name: paired.differences(cells, name, collection.outcomes)
    )


def write_report(
    collection: Collection,
    out: str | Path,
    settings: ReportSettings | None = None,
    note: str = "",
    draws: bool = True,
) -> Report:
    """Write the CSVs, the figures and report.html to `out`.

    Everything is made in a temporary folder and then moved, so a crash leaves no partial file.
    Figures that only an earlier report had are removed.

    settings: comparisons and claims beside the standing figures, kept in report.json.
    note: a sentence to put below the table and every standing figure.
    draws: whether to draw the figures; otherwise there are tables only.
    """
    if collection.cells.empty:
        raise BadInput("no complete cell: nothing to report")
    settings = settings or ReportSettings()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    numbers, paired = summary(collection), differences(collection)
    compared, why_not = _compared(collection, settings)
    why_not += not_shown(numbers, collection.paper_values)
    claims = decide_claims(collection, settings)
    parts = [
        format_table(numbers), unfinished(collection.incomplete), *collection.set_aside, *why_not,
        note,
    ]  # fmt: skip
    # names can come from folders and files of others
    table = "\n".join(map(printable, "\n\n".join(filter(None, parts)).split("\n")))
    remove_litter(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=temporary_name("report")) as name:
        made = Path(name)
        collection.write(made)
        write_csv(numbers, made / "summary.csv")
        write_csv(paired, made / "differences.csv")
        (made / "summary.tex").write_text(latex_table(numbers))
        alone = _standing(collection, settings) if draws else []
        with declared(collection.symmetric):
            drawn = [(one, comparison_figure(one, settings.size)) for one in compared if draws]
        for one in alone if note else ():
            mark(one.figure, note)
        for comparison in compared:
            write_csv(comparison.csv(), made / f"{comparison.name}.csv")
        if settings:
            settings.write(made)
        for name, frame in (("claims", claims.claims), ("comparisons", claims.comparisons)):
            if len(frame):
                write_csv(frame, made / f"{name}.csv")
        said = claims.sentences
        notes = [note, *collection.set_aside, *why_not]
        files = {name: what for name, what in _FILES.items() if (made / name).exists()}
        with declared(collection.symmetric):
            page = build(
                collection, numbers, paired, alone, drawn, said, [*filter(None, notes)], made, files
            )
        figures = {one.name: one.figure for one in alone}
        figures |= {comparison.name: figure for comparison, figure in drawn}
        images = [save_figure(figure, made / name)[0] for name, figure in figures.items()]
        (made / "report.html").write_text(render(page), encoding="utf-8")
        new = sorted(made.iterdir())
        compared_before = _names_before(out)
        for old in out.iterdir():
            ours = _is_ours(old.name) or compared_before.fullmatch(old.name)
            if ours and not (made / old.name).exists():
                old.unlink()
        for file in new:
            file.replace(out / file.name)
    return Report(out, numbers, paired, [out / image.name for image in images], table, said)


def _standing(collection: Collection, settings: ReportSettings) -> list[Standing]:
    """The standing figures. Beside comparisons, which put several experiments into one figure,
    those of each experiment apart are left out."""
    experiments = collection.cells[group_columns(collection.cells)].drop_duplicates()
    return [] if settings.comparisons and len(experiments) > 1 else standing(collection)


def _compared(collection: Collection, settings: ReportSettings) -> tuple[list[Drawn], list[str]]:
    """The comparisons, and sentences on those that cannot be drawn."""
    found: list[Drawn] = []
    why_not: list[str] = []
    for one in settings.comparisons:
        drawn = compare(collection, one)
        if isinstance(drawn, str):
            why_not.append(drawn)
        else:
            found += drawn
    return found, why_not


def _names_before(out: Path) -> re.Pattern[str]:
    """The files of the comparisons that the last report to a folder had."""
    try:
        names = [re.escape(one.name) for one in ReportSettings.stored(out).comparisons]
    except BadInput:
        names = []
    # a pattern that matches nothing if there were none
    return re.compile(rf"({'|'.join(names)})(__.*)?\.(png|pdf|csv)" if names else "(?!)")


def _is_ours(name: str) -> bool:
    return bool(FILES.fullmatch(name) or _SOMETIMES.fullmatch(name))


def _of_headlines(
    collection: Collection, estimate: Callable[[pd.DataFrame, str], pd.DataFrame]
) -> pd.DataFrame:
    cells = collection.cells
    headline = pd.Series("", index=cells.index)
    for name in reversed(HEADLINES):
        value = cells.get(f"last/{name}", pd.Series(np.nan, index=cells.index))
        measured = value.groupby([cells["job"], cells["dataset"]]).transform("count") > 0
        headline[measured] = name
    judged = [f"judge/{judge}/win_rate" for judge in judges_in(collection)]
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


_FILES = {
    "summary.csv": "means and intervals",
    "summary.tex": "the same as a table in LaTeX (needs booktabs)",
    "differences.csv": "differences between losses, paired over seeds",
    "judges.csv": "judges",
    "agreement.csv": "agreement between judges",
    "judged_differences.csv": "judged differences, paired by prompt",
    "claims.csv": "claims",
    "comparisons.csv": "comparisons of the claims, paired over seeds",
    "incomplete.csv": "cells that are not complete",
    "cells.csv": "every cell",
    "curves.csv": "every evaluation of every cell",
}
