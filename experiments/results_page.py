"""Writes results/README.md, the results page, from the catalogue and the committed results.

    python -m experiments.results_page

First the outcomes of all claims at a glance, then a row per experiment: the claims, what came
out, a figure, the evidence and the command. What came out is read from its claims.csv, or written
from its other CSVs. A test compares the page with what this writes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.catalogue import CATALOGUE, Experiment
from experiments.committed_results import ROOT
from experiments.report import SMALL
from sympo.disk import write_atomically

RESULTS = ROOT / "results"
COMMAND = "python -m experiments.paper"
_HEAD = """# Results

What each experiment tests, what came out, right or wrong, and how much evidence there is. Intervals
are over seeds and test items, 95% in figures and 90% in outcomes of claims, which are tests at 5%
to either side; noise is the share of flipped training labels. To run them all:
`{command}{size} --data FOLDER`.
"""
_MORE = """
[The long version](../docs/results.md) has the numbers in prose, more figures and dry runs;
[metrics](../docs/metrics.md) has the definitions and the rules of intervals and outcomes. This page
is written by `python -m experiments.results_page`.
"""
_OUTCOMES = ("supported", "contradicted", "undecided")
_TABLE = ("| claim and outcome | figure | evidence |", "|---|---|---|")
Catalogue = Mapping[str, Sequence[Experiment]]


def page(results: Path, size: str = "full", catalogue: Catalogue = CATALOGUE) -> str:
    """The page of the experiments whose folders are in `results`, and of those not run yet."""
    options = "" if size == "full" else f" --size {size}"
    parts = [_HEAD.format(command=COMMAND, size=options)]
    if size == "full":
        parts.append(_MORE)
    if size == "small":
        parts.append(f"\n{SMALL}\n")
    elif count := _count([results / entry.name for some in catalogue.values() for entry in some]):
        parts.append(f"\n{count}\n")
    left, found = [], {}
    for heading, entries in catalogue.items():
        has_size = [entry for entry in entries if size in entry.sizes]
        there = [entry for entry in has_size if (results / entry.name).is_dir()]
        left += [entry for entry in has_size if entry not in there]
        if there:
            found[heading] = there
    if size == "full" and found:
        parts.append(_at_a_glance(found, results))
    for heading, there in found.items():
        rows = [_row(entry, results / entry.name, size) for entry in there]
        parts.append("\n".join([f"\n## {heading}\n", *_TABLE, *rows, ""]))
    if left:
        parts.append("\n".join(["\n## Not run\n", *(_not_run(entry, size) for entry in left), ""]))
    return "".join(parts)


def write(results: Path, size: str = "full", catalogue: Catalogue = CATALOGUE) -> Path:
    """Write the page; returns its path."""
    out = results / "README.md"
    write_atomically(out, page(results, size, catalogue))
    return out


def _at_a_glance(found: Catalogue, results: Path) -> str:
    """A line per experiment: what it shows and how many of its claims had which outcome."""
    lines = [
        "\n## At a glance\n",
        "How many claims of each experiment had which outcome; –: numbers without a written rule.",
        "An experiment's claims may point in opposite directions: they are worded below.\n",
        "| experiment | supported | contradicted | undecided | no outcome |",
        "|---|---|---|---|---|",
    ]
    for heading, entries in found.items():
        lines.append(f"| *{heading}* | | | | |")
        for entry in entries:
            outcomes = _outcomes([results / entry.name])
            counts = [int((outcomes == one).sum()) for one in (*_OUTCOMES, "none")]
            shown = [str(count or "") for count in counts] if any(counts) else ["–"] * len(counts)
            lines.append(f"| [{entry.shows}](#{entry.name}) | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def _count(folders: Sequence[Path]) -> str:
    """How many claims have which outcome; empty if there are none."""
    found = _outcomes(folders)
    if found.empty:
        return ""
    counts = [f"{int((found == outcome).sum())} {outcome}" for outcome in _OUTCOMES]
    if none := int((found == "none").sum()):
        counts.append(f"{none} without an outcome")
    return f"**Claims tested by written rules: {len(found)}, of which {', '.join(counts)}.**"


def _outcomes(folders: Sequence[Path]) -> pd.Series:
    """The outcome of every claim that folders decide."""
    files = [folder / "claims.csv" for folder in folders if (folder / "claims.csv").is_file()]
    each = [pd.read_csv(file, keep_default_na=False)["outcome"] for file in files]
    return pd.concat(each) if each else pd.Series(dtype=str)


def _row(entry: Experiment, folder: Path, size: str) -> str:
    outcome = "" if size == "small" else _outcome(entry, folder)
    cells = [
        f'<a id="{entry.name}"></a>**{entry.shows}.** {outcome}'.strip(),
        _figure(entry, folder),
        "<br>".join(
            [
                f"[{_evidence(folder)}]({entry.name}/)",
                *(
                    f"[{what}]({path})"
                    for path, what in entry.more.items()
                    if (folder.parent / path).is_file()
                ),
                _made_by(folder) or _command(entry, size),
            ]
        ),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _not_run(entry: Experiment, size: str) -> str:
    needs = [f"`{one.needed.as_posix()}` in FOLDER" for one in entry.data]
    needs += [f"the extra `{entry.packages.extra}`"] if entry.packages else []
    needs += ["a GPU"] if entry.gpu and size == "full" else []
    needed = f" Needs {', '.join(needs)}." if needs else ""
    return f"- {entry.shows}.{needed} {_command(entry, size)}"


def _made_by(folder: Path) -> str:
    """The recorded command, if it made another size than the full one, or fewer seeds."""
    path = folder / "provenance.json"
    made = str(json.loads(path.read_text())["command"]) if path.is_file() else ""
    other = ("size=" in made and "size=full" not in made) or " seed=" in made
    return f"`{made}`" if other else ""


def _command(entry: Experiment, size: str) -> str:
    options = "" if size == "full" else f" --size {size}"
    data = " --data FOLDER" if entry.data else ""
    return f"`{COMMAND}{options} --only {entry.name}{data}`"


def _outcome(entry: Experiment, folder: Path) -> str:
    """A line per claim of the folder, or the sentence that the entry writes if none is decided."""
    claims = folder / "claims.csv"
    rows = pd.read_csv(claims, keep_default_na=False) if claims.is_file() else pd.DataFrame()
    if len(rows) and (entry.outcome is None or rows["outcome"].isin(_OUTCOMES).any()):
        each = rows[["claim", "source", "sentence"]].itertuples(index=False, name=None)
        return "".join(f"<br>{_claim(*one)}" for one in each)
    try:
        return entry.outcome(folder) if entry.outcome else ""
    except (OSError, LookupError) as error:  # results of a sweep that was cut short
        return f"No outcome: {' '.join(str(error).split())}."


def _claim(claim: str, source: str, sentence: str) -> str:
    """A sentence such as `Supported: CLAIM (SOURCE): numbers.`, with the numbers in small type."""
    outcome, _, said = sentence.partition(": ")
    named = f"{claim} ({source})" if source else claim
    numbers = said.removeprefix(f"{named}: ")
    return f"**{outcome}**: {named}: <sub>{numbers}</sub>"


def _figure(entry: Experiment, folder: Path) -> str:
    name = f"{entry.name}/{entry.figure}.png"
    if not entry.figure or not (folder / f"{entry.figure}.png").is_file():
        return ""
    return f'<a href="{name}"><img src="{name}" width="260" alt="{entry.shows}"></a>'


def _evidence(folder: Path) -> str:
    """`175 cells, 5 seeds, cpu, at 66a9a8c`."""
    path = folder / "provenance.json"
    if not path.is_file():
        return "files"
    made = json.loads(path.read_text())
    cells, seeds = made["cells"], len(made["seed"])
    parts = [f"{cells} cell{'s' * (cells != 1)}", f"{seeds} seed{'s' * (seeds != 1)}"]
    parts += [", ".join(made["device"])]
    parts += [f"at {', '.join(commit[:7] for commit in made['git_commit'])}"]
    return ", ".join(parts)


if __name__ == "__main__":
    print(write(RESULTS))
