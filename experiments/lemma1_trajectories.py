"""Lemma 1 along training: accuracy and rank correlation under asymmetric and symmetric noise.

python -m experiments.lemma1_trajectories [--out results/lemma1]

Reads `curves.csv` of a report of experiment=lemma1 in that folder, and writes `trajectories.csv`
and a figure: at every evaluation the mean under asymmetric noise, with a random presentation order
and with one that follows the gap, beside symmetric noise at the mean rate and the range of its
seeds.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from experiments.lemma1_risk import RATES
from sympo.analysis import save_figure
from sympo.analysis.canvas import DRAWN, caption, panels
from sympo.analysis.style import ordered
from sympo.types import BadInput

METRICS = ("test/order_accuracy", "test/spearman")
DRAWN_METRIC = METRICS[0]
# k in a CSV has all its digits
CLOSE = 1e-6


def trajectories(curves: pd.DataFrame) -> pd.DataFrame:
    """A row per presentation, pair of rates, loss, metric and epoch.

    n_seeds; symmetric, asymmetric: means over seeds; symmetric_least, symmetric_most: the range of
    seeds; difference: asymmetric - symmetric, paired by seed, with its 95% Student t interval low,
    high; within: whether the asymmetric mean lies in the range. BadInput if no cells are compared.
    """
    found = [
        _compared(curves, presentation, positive, negative, metric)
        for presentation in ("random", "by_gap")
        for positive, negative in RATES
        for metric in METRICS
    ]
    table = pd.concat(found, ignore_index=True)
    if table.empty:
        raise BadInput("curves.csv has no cells of experiment=lemma1 to compare")
    return table


def _compared(
    curves: pd.DataFrame, presentation: str, positive: float, negative: float, metric: str
) -> pd.DataFrame:
    noise = (positive + negative) / 2
    k = (positive - negative) / (2 * noise)
    at_rate = curves[np.isclose(curves["noise"], noise)]
    # at k = 0 the presentation order changes nothing
    sides = {
        "asymmetric": _cells(at_rate, k, presentation),
        "symmetric": _cells(at_rate, 0, "random"),
    }
    columns = {
        side: cells.set_index(["loss", "epoch", "seed"])[metric] for side, cells in sides.items()
    }
    both = pd.DataFrame(columns).dropna()
    both["difference"] = both["asymmetric"] - both["symmetric"]
    groups = both.groupby(["loss", "epoch"])
    table = groups.mean().assign(
        symmetric_least=groups["symmetric"].min(),
        symmetric_most=groups["symmetric"].max(),
        n_seeds=groups.size(),
    )
    half = stats.t.ppf(0.975, table["n_seeds"] - 1) * groups["difference"].sem()
    table = table.assign(
        low=table["difference"] - half,
        high=table["difference"] + half,
        within=table["asymmetric"].between(table["symmetric_least"], table["symmetric_most"]),
    )
    return table.reset_index().assign(
        presentation=presentation,
        rate_of_positive=positive,
        rate_of_negative=negative,
        metric=metric,
    )


def _cells(curves: pd.DataFrame, k: float, presentation: str) -> pd.DataFrame:
    close = (curves["noise_model.k"] - k).abs() < CLOSE
    return curves[close & (curves["noise_model.presentation"] == presentation)]


def _at(table: pd.DataFrame, positive: float, negative: float) -> pd.Series:
    """The rows of a pair of rates."""
    return (table["rate_of_positive"] == positive) & (table["rate_of_negative"] == negative)


@mpl.rc_context(DRAWN)
def figure_of(table: pd.DataFrame) -> Figure:
    """Accuracy against the epoch: a row of panels per pair of rates, a column per loss."""
    table = table[table["metric"] == DRAWN_METRIC]
    losses = ordered(table["loss"])
    rates = [one for one in RATES if (_at(table, *one)).any()]
    figure, axes = panels(len(rates), len(losses), 3.2, 2.3)
    places = [(one, loss) for one in rates for loss in losses]
    for ((positive, negative), loss), ax in zip(places, axes, strict=True):
        rows = table[(table["loss"] == loss) & _at(table, positive, negative)]
        for presentation, color, line, label in (
            ("random", "#D55E00", "-", "asymmetric, random order"),
            ("by_gap", "#0072B2", "--", "asymmetric, order by gap (control)"),
        ):
            own = rows[rows["presentation"] == presentation].sort_values("epoch")
            if presentation == "random":
                least, most = own["symmetric_least"], own["symmetric_most"]
                ax.fill_between(
                    own["epoch"],
                    100 * least,
                    100 * most,
                    color="#bbbbbb",
                    alpha=0.5,
                    linewidth=0,
                    label="symmetric, all seeds",
                )
                ax.plot(own["epoch"], 100 * own["symmetric"], color="#555555", label="symmetric")
            ax.plot(own["epoch"], 100 * own["asymmetric"], color=color, linestyle=line, label=label)
        ax.set_title(f"{loss}, rates ({positive:g}, {negative:g})")
    for ax in axes[-len(losses) :]:
        ax.set_xlabel("Epoch")
    figure.supylabel("Pairwise accuracy (%)", fontsize=10.5)
    figure.suptitle("Training under asymmetric noise and under symmetric noise at its mean rate")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    seeds = sorted(set(table["n_seeds"]))
    caption(
        figure,
        f"Means over {', '.join(map(str, seeds))} seeds on clean test pairs; grey: the range of "
        "the seeds under symmetric noise. Rates are those of presented labels +1 and -1.",
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/lemma1"))
    folder = parser.parse_args().out
    try:
        table = trajectories(pd.read_csv(folder / "curves.csv"))
    except (OSError, BadInput) as error:
        parser.error(f"{error}; first run python run.py -m experiment=lemma1 report_dir={folder}")
    table.to_csv(folder / "trajectories.csv", index=False)
    for presentation, rows in table.groupby("presentation", sort=False):
        inside = f"{rows['within'].mean():.0%} of {len(rows)} means"
        print(f"presentation={presentation}: {inside} lie within the seeds of symmetric noise")
    save_figure(figure_of(table), folder / "trajectories")
    print(f"wrote {folder}/trajectories.csv, trajectories.png and trajectories.pdf")


if __name__ == "__main__":
    main()
