"""python -m sympo.analysis [RUNS_DIR | --from-csv DIR] [--out DIR] [--report FILE]
[--size SIZE] [--paper-values FILE]"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sympo.analysis import Collection, Report, write_report
from sympo.analysis.paper_values import read_paper_values
from sympo.disk import check_folder
from sympo.report_settings import SIZES, ReportSettings
from sympo.types import BadInput, printable


def main(arguments: list[str] | None = None) -> int:
    """Report on run folders, or on the CSVs of an earlier report. Exit code 1: some cells are not
    drawn, or files are damaged; 2: nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m sympo.analysis", description=main.__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=Path("results/runs"))
    parser.add_argument("--out", type=Path, help="default: the folder `latest` beside RUNS_DIR")
    parser.add_argument("--from-csv", type=Path, metavar="DIR", help="redraw DIR/cells.csv, ...")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="YAML or JSON with `comparisons` and `claims`, or a preset with a key `report`; "
        "default with --from-csv: its report.json",
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        help="of the experiment: outcomes of claims are stated for full only; default: full, or "
        "that of the stored report.json",
    )
    parser.add_argument("--paper-values", metavar="FILE", help="a paper's numbers to show beside")
    options = parser.parse_args(arguments)
    out = options.out or options.from_csv or options.runs.parent / "latest"
    try:
        check_folder("--out", out)
        paper = read_paper_values(options.paper_values) if options.paper_values else ()
        collection = _from_csv(options.from_csv) if options.from_csv else _from_runs(options.runs)
        beside = replace(collection, paper_values=paper)
        report = _written(beside, out, _settings(options.report, options.from_csv, options.size))
    except BadInput as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    for sentence in (report.table, *report.claims):
        print(f"{sentence}\n")
    print("figures:", *report.figures, "", f"report: {report.page}", sep="\n")
    return 1 if collection.set_aside or collection.damaged else 0


def _settings(file: Path | None, from_csv: Path | None, size: str | None) -> ReportSettings:
    """What to draw beside the standing figures; the size is that of the stored report."""
    stored = ReportSettings.stored(from_csv) if from_csv else ReportSettings()
    size = size or stored.size
    return ReportSettings.load(file, size) if file else replace(stored, size=size)


def _written(collection: Collection, out: Path, settings: ReportSettings) -> Report:
    try:
        return write_report(collection, out, settings)
    except OSError as error:  # such as a full disk
        raise BadInput(f"--out={out} cannot be written: {error}") from error


def _from_runs(runs: Path) -> Collection:
    if not runs.is_dir():
        raise BadInput(f"{runs} is not a folder: give the folder that holds the runs")
    collection = Collection.from_runs(runs)
    if collection.cells.empty:
        for sentence in collection.set_aside:
            print(sentence, file=sys.stderr)
        raise BadInput(
            f"{runs} holds no complete run ({len(collection.incomplete)} unfinished): a run is "
            "<job>/<dataset>/<loss>/noise=<rate>/seed=<seed>-<hash>/ with a summary.json"
        )
    return collection


def _from_csv(folder: Path) -> Collection:
    if not (folder / "cells.csv").is_file() or not (folder / "curves.csv").is_file():
        raise BadInput(f"{folder} holds no cells.csv and curves.csv to redraw")
    return Collection.read(folder)


if __name__ == "__main__":
    sys.exit(main())
