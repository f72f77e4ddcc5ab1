"""The paragraphs about how long sweeps take."""

import pandas as pd

from experiments.committed_results import ROOT, holds


def estimates() -> str:
    """The time that dry runs estimate against the time taken."""
    rows = pd.read_csv(ROOT / "results" / "benchmarks" / "estimates.csv")
    holds(bool(rows["ratio"].between(1 / 1.5, 1.5).all()), "estimates are within a factor of 1.5")
    each = [
        f"{row.sweep} {row.seconds:g} s for an estimate of {row.estimated_seconds:g} s"
        for row in rows.itertuples()
    ]
    return f"""
    On two cores, {", ".join(each[:-1])}, and {each[-1]}: {rows["ratio"].min():g} to
    {rows["ratio"].max():g} times the estimate. A load that changes meanwhile, which a dry run
    cannot know, makes it worse."""


def paper_small() -> str:
    """How long the small sizes of all experiments take."""
    rows = pd.read_csv(ROOT / "results" / "benchmarks" / "paper_small.csv")
    holds(rows["seconds"].sum() < 75 * 60, "all of them take less than 75 minutes")
    holds(bool((rows["seconds"] < 300).all()), "each takes less than five minutes")
    longest = rows.nlargest(1, "seconds").iloc[0]
    return f"""
    The small sizes of {len(rows)} experiments take {rows["seconds"].sum() / 60:.0f} minutes on
    {rows["cores"].iloc[0]} cores ([CSV](../results/benchmarks/paper_small.csv), by
    `python -m experiments.benchmarks.paper_small --data FOLDER`), half of them less than
    {rows["seconds"].median():.0f} s each; `{longest["experiment"]}` takes longest,
    {longest["seconds"]:.0f} s."""
