"""Agreement of `protocol=faithful` with the authors' own MNIST script.

    python -m experiments.authors_protocol --peer FOLDER --mnist FOLDER [--epochs 100] [--seeds 2]

--peer is a checkout of github.com/nissymori/SymPO (commit 506e928), --mnist holds MNIST/raw.
Trains each loss and seed by the authors' script, unchanged but for its device, and by ours with
every fault switched on. A seed draws different pairs, flips and weights in the two programs, so
that only distributions can agree. Writes runs.csv (a row per evaluation), agreement.csv (a row per
loss and metric), provenance.json, agreement.png and agreement.pdf to --out, and prints a sentence
for each row. Runs are kept in --runs: the same command resumes where it stopped.

The authors evaluate after epochs 1, 11, 21, ..., ours after 10, 20, ..., and both after the last.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from sympo.analysis import Collection
from sympo.analysis.canvas import DRAWN, caption, few_ticks, head, panels, save_figure
from sympo.analysis.csv import write_csv
from sympo.analysis.provenance import FILE
from sympo.analysis.style import styles
from sympo.disk import write_atomically
from sympo.types import BadInput

# what the authors' script calls our losses
NAMES = {"ramp": "symmetric_ramp", "truncated_hinge": "ramp"} | {
    name: name for name in ("logistic", "hinge", "square", "sigmoid", "unhinged")
}
# of their run_mnist.sh
SETTINGS = [
    "project=sympo", "algo=sympo", "regularize=True", "symmetric=True",
    "instance_dependent_noise=False", "add_noise=True", "flipping=False", "class_prior=0.5",
    "clip_min=-20", "clip_max=20",
]  # fmt: skip
AUTHORS, OURS = "authors", "ours"
# what is compared: the reported number, and the last evaluation of all 1,000 test pairs
FINAL, WHOLE = "final_reward_correct / 2", "last test_reward_correct"
ALL = "all losses"
# differences below this count as agreement, in accuracy
CLOSE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--losses", default="logistic,ramp")
    parser.add_argument("--noise", type=float, default=0.4, help="above 0")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=Path, default=Path("results/authors_runs"))
    parser.add_argument("--out", type=Path, default=Path("results/authors_protocol"))
    arguments = parser.parse_args()
    losses = arguments.losses.split(",")
    for loss in losses:
        if loss not in NAMES:
            parser.error(f"--losses {loss} is not in the authors' code: use {', '.join(NAMES)}")

    place = arguments.runs / f"noise-{arguments.noise:g}-epochs-{arguments.epochs}"
    our_runs = ours(arguments, losses, place)
    their_runs = [
        theirs(arguments, loss, seed, place) for seed in range(arguments.seeds) for loss in losses
    ]
    runs = pd.concat([*their_runs, our_runs], ignore_index=True)
    found = agreement(runs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(runs, arguments.out / "runs.csv")
    write_csv(found, arguments.out / "agreement.csv")
    write_provenance(arguments, place)
    for file in save_figure(draw(runs, found, arguments.noise), arguments.out / "agreement"):
        print(file)
    for row in found.itertuples():
        print(sentence(row))


def write_provenance(arguments: argparse.Namespace, place: Path) -> None:
    """That of our runs, with the command that ran both and a digest of the authors' scripts."""
    made = json.loads((place / OURS / "report" / FILE).read_text())
    settings = " ".join(
        f"--{name} {getattr(arguments, name)}" for name in ("losses", "noise", "seeds", "epochs")
    )
    made["command"] = (
        f"python -m experiments.authors_protocol --peer FOLDER --mnist FOLDER {settings}"
    )
    made["authors_scripts_blake2b"] = digest(arguments.peer)
    write_atomically(arguments.out / FILE, json.dumps(made, indent=1) + "\n")


def digest(peer: Path) -> str:
    """Of the authors' scripts for MNIST in a checkout."""
    scripts = sorted((peer / "mnistpref").glob("*.py"))
    if not scripts:
        raise BadInput(f"--peer={peer} has no mnistpref: give a checkout of SymPO")
    return hashlib.blake2b(b"".join(one.read_bytes() for one in scripts), digest_size=4).hexdigest()


def theirs(arguments: argparse.Namespace, loss: str, seed: int, place: Path) -> pd.DataFrame:
    """A run of the authors' script, as rows of `runs.csv`; run unless its record exists."""
    record = place / f"authors-{digest(arguments.peer)}" / f"{loss}-seed={seed}.json"
    if not record.is_file():
        record.parent.mkdir(parents=True, exist_ok=True)
        print(f"authors' script: {loss}, seed {seed}", flush=True)
        settings = [
            *SETTINGS, f"loss_type={NAMES[loss]}", f"seed={seed}",
            f"num_epochs={arguments.epochs}", f"epsilon_p={arguments.noise}",
            f"epsilon_n={arguments.noise}",
        ]  # fmt: skip
        run("-m", "experiments.run_authors", arguments.peer, arguments.mnist, record, *settings)
    logged = json.loads(record.read_text())
    rows = [(line["epoch"] + 1, line["test_reward_correct"], None) for line in logged[:-1]]
    rows.append((arguments.epochs, None, logged[-1]["final_reward_correct"]))
    return _rows(AUTHORS, loss, seed, rows)


def ours(arguments: argparse.Namespace, losses: Sequence[str], place: Path) -> pd.DataFrame:
    """Our runs with every fault, as rows of `runs.csv`; a sweep, which runs what is missing."""
    every = 10 if arguments.epochs > 10 else 1
    run(
        "run.py", "-m", "dataset=mnist", f"dataset.path={arguments.mnist.absolute()}",
        "protocol=faithful", f"loss={','.join(losses)}", f"noise={arguments.noise}",
        f"seed=range({arguments.seeds})", f"job.epochs={arguments.epochs}",
        f"job.evaluate_every={every}", f"results_dir={place / OURS}",
        f"report_dir={place / OURS / 'report'}", "wandb.mode=disabled",
    )  # fmt: skip
    collection = Collection.from_runs(place / OURS / "runs")
    frames = []
    for cell in collection.cells.to_dict("records"):
        loss, seed = str(cell["loss"]), int(cell["seed"])
        if loss not in losses or seed >= arguments.seeds:
            continue
        curve = collection.curves[
            (collection.curves["loss"] == loss) & (collection.curves["seed"] == seed)
        ]
        rows = [
            (epoch, accuracy, None)
            for epoch, accuracy in zip(curve["epoch"], curve["test/order_accuracy"], strict=True)
            if epoch < arguments.epochs
        ]
        rows.append((arguments.epochs, None, cell["last/test/final_reward_correct"]))
        frames.append(_rows(OURS, loss, seed, rows))
    return pd.concat(frames, ignore_index=True)


def run(*words: object) -> None:
    done = subprocess.run([sys.executable, *map(str, words)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _rows(code: str, loss: str, seed: int, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["epoch", "test_reward_correct", "final_reward_correct"])
    frame = frame.astype(
        {"epoch": int, "test_reward_correct": float, "final_reward_correct": float}
    )
    return pd.concat(
        [pd.DataFrame({"code": code, "loss": loss, "seed": seed}, frame.index), frame], axis=1
    )


def agreement(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the authors' accuracy and ours, and the difference ours - theirs with its
    95% interval, for each loss and on average over losses.

    The interval is Student's with the spread over seeds pooled over losses and programs, for few
    seeds cannot show how these differ; NaN if no loss has two seeds. outcome: `agree` if the
    interval lies within +-5 points, `differ` if it excludes 0, otherwise `undecided`.

    runs: columns code, loss, seed, epoch, test_reward_correct, final_reward_correct.
    """
    of_run = runs.groupby(["loss", "code", "seed"], sort=False)
    measured = {
        FINAL: of_run["final_reward_correct"].last() / 2,
        WHOLE: of_run["test_reward_correct"].last(),
    }
    found = []
    for metric, values in measured.items():
        groups = values.dropna().groupby(["loss", "code"], sort=False)
        table = groups.agg(["count", "mean", "var"]).unstack("code")
        if not len(table):
            continue
        counts, means, variances = (table[name] for name in ("count", "mean", "var"))
        freedom = int((counts - 1).to_numpy().sum())
        pooled = (variances.fillna(0) * (counts - 1)).to_numpy().sum() / max(freedom, 1)
        factor = stats.t.isf(0.025, freedom) if freedom else np.nan
        difference = means[OURS] - means[AUTHORS]
        squares = pooled * (1 / counts[AUTHORS] + 1 / counts[OURS])
        rows = [
            (loss, means.loc[loss, AUTHORS], means.loc[loss, OURS], difference[loss], squares[loss])
            for loss in table.index
        ]
        rows.append(
            (ALL, means[AUTHORS].mean(), means[OURS].mean(), difference.mean(),
             squares.sum() / len(table) ** 2)
        )  # fmt: skip
        for loss, authors, mine, apart, square in rows:
            low, high = apart - factor * square**0.5, apart + factor * square**0.5
            seeds = int(counts.to_numpy().min())
            found.append(
                (loss, metric, seeds, authors, mine, apart, low, high, _outcome(low, high))
            )
    columns = [
        "loss", "metric", "seeds", "authors_mean", "ours_mean", "difference", "low", "high",
        "outcome",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns)


def _outcome(low: float, high: float) -> str:
    if low > 0 or high < 0:
        return "differ"
    return "agree" if low >= -CLOSE and high <= CLOSE else "undecided"


def sentence(row: Any) -> str:
    """Whether one row of `agreement` agrees, in words."""
    means = f"{row.loss}, {row.metric}: authors {row.authors_mean:.1%}, ours {row.ours_mean:.1%}"
    if np.isnan(row.low):
        return f"{means}; one seed has no spread to compare with"
    verdict = {
        "differ": "they differ by more than the spread of seeds",
        "agree": "they agree within the spread of seeds",
        "undecided": "no difference is shown, nor is one above 5 points excluded",
    }[row.outcome]
    return (
        f"{means}, difference {100 * row.difference:+.1f} points "
        f"({100 * row.low:.1f} to {100 * row.high:.1f}, 95%, {row.seeds} seeds): {verdict}"
    )


@mpl.rc_context(DRAWN)
def draw(runs: pd.DataFrame, found: pd.DataFrame, noise: float) -> Figure:
    """Accuracy against epochs, a panel per loss and a line per seed; the reported number of the
    last epoch as separate marks."""
    losses = list(dict.fromkeys(runs["loss"]))
    looks = styles(losses)
    figure, axes = panels(1, len(losses), width=4.3, height=3.6)
    for loss, ax in zip(losses, axes, strict=True):
        color = looks[loss].color
        for (code, _), rows in runs[runs["loss"] == loss].groupby(["code", "seed"]):
            line = _line(str(code), color)
            y = 100 * rows["test_reward_correct"]
            ax.plot(rows["epoch"], y, marker="o", ms=4, lw=1.2, **line)
            ax.plot(rows["epoch"], 50 * rows["final_reward_correct"], marker="D", **line)
        ax.set_title(loss)
        ax.set_xlabel("Epochs")
        few_ticks(ax)
    axes[0].set_ylabel("Test pairwise accuracy (%)")
    handles = [
        Line2D([], [], marker="o", label=code, **_line(code, "#444444")) for code in (AUTHORS, OURS)
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    head(figure, "The authors' script and protocol=faithful", f"mnist, noise {noise:g}")
    last = found[(found["metric"] == FINAL) & (found["loss"] == ALL)]
    caption(figure, " ".join([
        "A line per seed: all 1,000 test pairs. Diamonds: half of the number that the authors'",
        "script ends with, the accuracy on the last batch of test pairs.",
        *(f"{sentence(row)[0].upper()}{sentence(row)[1:]}." for row in last.itertuples()),
    ]))  # fmt: skip
    return figure


def _line(code: str, color: str) -> dict[str, Any]:
    face = "white" if code == AUTHORS else color
    return {"color": color, "ls": "--" if code == AUTHORS else "-", "mfc": face, "mec": color}


if __name__ == "__main__":
    main()
