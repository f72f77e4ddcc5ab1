"""Runs every experiment behind the results page, and writes the page.

    python -m experiments.paper [--size small|medium|full] [--data FOLDER] [--only NAME ...]

The experiments are those of `experiments.catalogue`, those on embedded data first. Each runs as the
command that is printed before it. The same command resumes what was interrupted or failed. What
lacks data, a package, a GPU or this size is skipped and listed. Exit codes: 0, all others are
complete; 1, some failed; 2, bad arguments, and nothing started; if stopped, those of run.py.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import results_page
from experiments.catalogue import CATALOGUE, Experiment
from experiments.committed_results import ROOT
from experiments.ending import ended
from experiments.paper_commands import Options, commands, missing
from experiments.paper_times import Times
from experiments.results_page import Catalogue
from sympo.disk import check_folder
from sympo.pipelines.progress import duration, heading
from sympo.report_settings import FULL, SIZES
from sympo.types import BadInput

SECONDS_TO_END = 3.0  # of a command after Ctrl-C
FAILURES = {
    1: "some cells failed",
    2: "its settings or data were refused",
}


@dataclass(frozen=True)
class Failure:
    """An experiment that failed, why, and the command that did."""

    name: str
    reason: str
    command: str


def main(arguments: Sequence[str] | None = None, catalogue: Catalogue = CATALOGUE) -> int:
    entries = [entry for entries in catalogue.values() for entry in entries]
    options, only = _options(arguments, entries)
    chosen = [entry for entry in entries if not only or entry.name in only]
    reasons = {entry.name: missing(entry, options) for entry in chosen}
    to_run = sorted(
        (entry for entry in chosen if not reasons[entry.name]),
        key=lambda entry: (bool(entry.data), entry.packages is not None, entry.gpu),
    )
    try:
        times = Times(options.folder, options.results_dir / "paper.json", options.size)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    skipped = [f"skipped: {name}: {reason}" for name, reason in reasons.items() if reason]
    _show_plan(to_run, skipped, times)
    failures: list[Failure] = []
    for number, entry in enumerate(to_run, 1):
        print(f"\n{heading(number, len(to_run), entry.name)}  {entry.shows}", flush=True)
        if failed := _run(entry, options, times):
            failures.append(failed)
        _show_progress(to_run[:number], to_run[number:], times, len(failures))
    print("", *skipped, sep="\n")
    for failure in failures:
        print(f"failed: {failure.name}: {failure.reason}\n  {failure.command}")
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"results page: {results_page.write(options.folder, options.size, catalogue)}")
    return 1 if failures else 0


def _options(
    arguments: Sequence[str] | None, entries: Sequence[Experiment]
) -> tuple[Options, set[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paper",
        description="Run every experiment behind the results page, and write the page.",
    )
    parser.add_argument("--size", choices=SIZES, default=FULL)
    parser.add_argument("--data", type=Path, metavar="FOLDER",
                        help="holds MNIST/raw, hh-rlhf, ...; default: data/")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME",
                        help=", ".join(entry.name for entry in entries))  # fmt: skip
    parser.add_argument("--results", type=Path, default=results_page.RESULTS, metavar="FOLDER",
                        help="instead of results/")  # fmt: skip
    given = parser.parse_args(arguments)
    known = {entry.name for entry in entries}
    if unknown := sorted({*given.only} - known):
        parser.error(f"--only {unknown[0]}: use names of {', '.join(sorted(known))}")
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data {given.data} is not a folder")
    options = Options(given.size, (given.data or ROOT / "data").resolve(), given.results.resolve())
    try:
        check_folder("--results", options.folder)
    except BadInput as error:
        parser.error(str(error))
    return options, {*given.only}


def _run(entry: Experiment, options: Options, times: Times) -> Failure | None:
    """Run the commands of an experiment one after the other, up to one that fails."""
    failed, done = None, False
    started = time.monotonic()
    try:
        for command in commands(entry, options):
            print(f"$ {shlex.join(['python', *command])}", flush=True)
            if code := _run_to_end(command):
                reason = FAILURES.get(code, f"exit code {code}")
                failed = Failure(entry.name, reason, shlex.join(["python", *command]))
                break
        else:
            done = True
    except (OSError, BadInput) as error:
        failed = Failure(entry.name, str(error), "")
    finally:
        if entry.preset != "":  # programs alone take seconds
            times.add(entry.name, time.monotonic() - started, done)
    return failed


def _run_to_end(command: Sequence[str]) -> int:
    """Run python with these arguments; returns its exit code, or ends it and raises on Ctrl-C."""
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            # a terminal interrupts both processes, `kill -INT` only this one
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        raise
    finally:
        if process.poll() is None:  # interrupted twice
            process.terminate()


def _show_plan(to_run: Sequence[Experiment], skipped: Sequence[str], times: Times) -> None:
    what = "experiment" if len(to_run) == 1 else "experiments"
    print(f"{len(to_run)} {what}, size={times.size}, into {times.folder}")
    for entry in to_run:
        before = times.of(entry.name)
        state = f"done before, in {duration(before)}" if before else "to do"
        print(f"  {entry.name}: {state}")
    for line in skipped:
        print(f"  {line}")
    if forecast := _forecast(to_run, times):
        print(forecast)
    elif any(times.of(entry.name) is None for entry in to_run if entry.preset != ""):
        print("the time left is known after the first sweep")


def _forecast(left: Sequence[Experiment], times: Times) -> str:
    return times.forecast([entry.name for entry in left if entry.preset != ""])


def _show_progress(
    done: Sequence[Experiment], left: Sequence[Experiment], times: Times, failures: int
) -> None:
    forecast = _forecast(left, times)
    counts = f"{len(done) - failures} of {len(done) + len(left)} done, {failures} failed"
    print(f"\n{counts}, {len(left)} left{f'; {forecast}' if left and forecast else ''}", flush=True)


if __name__ == "__main__":
    sys.exit(ended(main))
