"""From a collection to what a reader opens: tables, figures, one page."""

import html
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sympo.analysis import estimates, plots
from sympo.analysis.collect import WHICH, Collection
from sympo.analysis.style import ordered
from sympo.types import BadInput

# the number that a job is judged by on a data set: the first of these that it measured
HEADLINES = ["test/order_accuracy", "policy/win_rate", "test/implicit_accuracy"]


@dataclass(frozen=True)
class FigureSpec:
    """A figure: the estimates it needs of a collection, and how they are drawn."""

    name: str
    estimate: Callable[[Collection], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]


def _vs_noise(metric: str) -> Callable[[Collection], pd.DataFrame]:
    return lambda collection: pd.concat(
        [
            estimates.summarise(collection.cells, f"{which}/{metric}", collection.incomplete)
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


FIGURES = [
    FigureSpec("accuracy_vs_noise", _vs_noise("test/order_accuracy"), plots.accuracy_vs_noise),
    FigureSpec("accuracy_vs_epochs", _vs_epochs("test/order_accuracy"), plots.accuracy_vs_epochs),
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
]
_OURS = re.compile(
    rf"({'|'.join(spec.name for spec in FIGURES)})(__.*)?\.(png|pdf)|incomplete\.csv"
)


@dataclass(frozen=True)
class Report:
    """What `write_report` wrote; table: the closing table as text; figures: the PNGs."""

    folder: Path
    summary: pd.DataFrame
    differences: pd.DataFrame
    figures: list[Path]
    table: str


def summary(collection: Collection) -> pd.DataFrame:
    """The headline metrics per loss and noise rate, at the last and the selected epoch."""
    return _of_headlines(
        collection, lambda cells, name: estimates.summarise(cells, name, collection.incomplete)
    )


def differences(collection: Collection) -> pd.DataFrame:
    """Paired differences of the headline metrics, at the last and the selected epoch."""
    return _of_headlines(collection, estimates.differences)


def draw(collection: Collection) -> dict[str, Figure]:
    """Every figure that the collection has numbers for, by file name without suffix.

    One experiment gives plain names; several give one figure each, named by their settings.
    """
    by = estimates.group_columns(collection.cells)
    experiments = collection.cells[by].drop_duplicates()
    figures = {}
    for spec in FIGURES:
        for _, rows in spec.estimate(collection).groupby(by, dropna=False):
            suffix = _suffix(rows.iloc[0], experiments) if len(experiments) > 1 else ""
            figures[spec.name + suffix] = spec.draw(rows)
    return figures


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
    table = "\n\n".join(filter(None, [format_table(numbers), _unfinished(collection.incomplete)]))
    with tempfile.TemporaryDirectory(dir=out, prefix=".report-") as name:
        made = Path(name)
        collection.write(made)
        numbers.to_csv(made / "summary.csv", index=False, lineterminator="\n")
        paired.to_csv(made / "differences.csv", index=False, lineterminator="\n")
        drawn = [plots.save(figure, made / name)[0] for name, figure in draw(collection).items()]
        (made / "report.html").write_text(_page(table, [figure.name for figure in drawn]))
        files = sorted(made.iterdir())
        for old in out.iterdir():
            if _OURS.fullmatch(old.name) and not (made / old.name).exists():
                old.unlink()
        for file in files:
            file.replace(out / file.name)
    return Report(out, numbers, paired, [out / figure.name for figure in drawn], table)


def format_table(summary: pd.DataFrame) -> str:
    """A summary as plain text: rows are losses, columns noise rates, cells `81.3 ±1.2 (n=3)` in %.

    One block per experiment and epoch choice; `*` marks runs that were given the true noise rate.
    """
    blocks = []
    by = list(summary.columns[: summary.columns.get_loc("loss")])  # type: ignore[misc]
    for _, experiment in summary.groupby(by, dropna=False):
        for metric, rows in experiment.groupby("metric", sort=False):
            which, name = str(metric).split("/", 1)
            heading = f"{name} (%), {plots.PANELS[which].lower()}: {plots.title(rows)}"
            blocks.append(f"{heading}\n{_block(rows)}")
    if not blocks:
        return f"no cell measured {' or '.join(HEADLINES)}"
    return "\n\n".join([*blocks, _footnotes(summary)])


def _of_headlines(
    collection: Collection, estimate: Callable[[pd.DataFrame, str], pd.DataFrame]
) -> pd.DataFrame:
    cells = collection.cells
    headline = pd.Series("", index=cells.index)
    for name in reversed(HEADLINES):
        value = cells.get(f"last/{name}", pd.Series(np.nan, index=cells.index))
        measured = value.groupby([cells["job"], cells["dataset"]]).transform("count") > 0
        headline[measured] = name
    tables = [
        estimate(rows, f"{which}/{name}")
        for (_, name), rows in cells.groupby(["job", headline])
        if name
        for which in WHICH
    ]
    tables = [table for table in tables if len(table)] or [
        estimate(cells.head(0), f"last/{HEADLINES[0]}")
    ]
    return pd.concat(tables, ignore_index=True)


def _block(rows: pd.DataFrame) -> str:
    cells = rows.assign(text=[_cell(row) for row in rows.to_dict("records")])
    wide = cells.pivot(index="variant", columns="noise", values="text").fillna("-")
    wide = wide.loc[ordered(wide.index)]
    lines = [["", *(f"noise {estimates.show(float(rate))}" for rate in wide.columns)]]
    lines += [[variant, *texts] for variant, texts in zip(wide.index, wide.to_numpy(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(row: dict) -> str:
    n, expected = row["n_seeds"], row["n_seeds"] + row["missing"]
    if not n:
        return "missing"
    half = 100 * (row["high"] - row["low"]) / 2
    interval = f" ±{half:.1f}" if np.isfinite(half) else ""
    seeds = f"n={n} of {expected}" if row["missing"] else f"n={n}"
    return f"{100 * row['mean']:.1f}{'*' * row['oracle']}{interval} ({seeds})"


def _footnotes(summary: pd.DataFrame) -> str:
    kinds = set(summary["interval"])
    notes = [note for kind, note in _INTERVALS.items() if kind in kinds]
    if summary["oracle"].any():
        notes.append("*: the loss was given the true noise rate (oracle)")
    if summary["missing"].any():
        by = list(summary.columns[: summary.columns.get_loc("loss")])  # type: ignore[misc]
        # a cell that diverged after its selected epoch is missing from one block alone
        per_block = summary.groupby([*by, "metric"], dropna=False)["missing"].sum()
        missing = per_block.groupby(level=list(range(len(by))), dropna=False).max().sum()
        notes.append(f"missing: {missing} cells")
    return "\n".join(notes)


_INTERVALS = {
    "student_t": "±: half width of a 95% Student t interval over seeds",
    "test_pairs": "±, n=1: 1.96 standard errors over the test pairs; says nothing about seeds",
    "prompts": "±, n=1: 1.96 standard errors over the prompts; says nothing about seeds",
    "bootstrap_test_pairs": "±, n=1: half width of a 95% bootstrap interval over the test pairs; "
    "says nothing about seeds",
    "bootstrap_prompts": "±, n=1: half width of a 95% bootstrap interval over the prompts; says "
    "nothing about seeds",
}


def _unfinished(incomplete: pd.DataFrame) -> str:
    if incomplete.empty:
        return ""
    places = (incomplete["job"] + "/" + incomplete["dataset"]).value_counts().sort_index()
    return "unfinished runs: " + ", ".join(f"{n} of {place}" for place, n in places.items())


def _suffix(first: pd.Series, experiments: pd.DataFrame) -> str:
    """`__<dataset>_<noise_model>` and every other setting that differs between experiments."""
    parts = [first["dataset"], first["noise_model"]]
    for name in experiments.columns:
        if name not in ("dataset", "noise_model") and experiments[name].nunique(dropna=False) > 1:
            value = first[name]
            parts.append(f"{name}={estimates.show(value) if pd.notna(value) else 'none'}")
    return "__" + "_".join(re.sub(r"[^\w.=+-]+", "-", str(part)) for part in parts)


def _page(table: str, figures: list[str]) -> str:
    images = "\n".join(f'<p><img src="{name}" alt="{name}" width="100%"></p>' for name in figures)
    return (
        '<!doctype html><meta charset="utf-8"><title>sympo report</title>\n'
        '<body style="max-width: 60rem; margin: 2rem auto; font-family: sans-serif">\n'
        f"<h1>Results</h1>\n<pre>{html.escape(table)}</pre>\n{images}\n"
        '<p>Numbers: <a href="summary.csv">summary</a>, <a href="differences.csv">paired '
        'differences</a>, <a href="cells.csv">cells</a>, <a href="curves.csv">curves</a>.</p>\n'
        "</body>\n"
    )
