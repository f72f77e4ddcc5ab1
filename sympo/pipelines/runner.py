"""Runs cells, alone or in batches: locks, skips or trains, records, and returns results."""

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from sympo.distributed import processes
from sympo.pipelines.cell import Cell
from sympo.pipelines.cell_run import CellRun, reason_of
from sympo.pipelines.forecast import Forecast, evaluations
from sympo.pipelines.progress import Progress, Screen, Terminal, duration, percent
from sympo.pipelines.result import RunResult
from sympo.process import cores, deterministic_algorithms, keep_freed_memory
from sympo.protocols.jobs import TrainedScorer
from sympo.types import Evaluation

THREADS = torch.get_num_threads()
# seconds of work that deserve a forecast, which is given once per process
WORTH_A_FORECAST = 60.0
_forecast_told: list[bool] = []


def run_cells(
    cells: Sequence[Cell],
    after: float = 0.0,
    screen: Screen | None = None,
    place: int = 0,
    wait: bool = False,
) -> list[RunResult]:
    """Run cells that share data set, model, schedule and device together; returns their results.

    after: the work that follows in the sweep, as a multiple of this batch. screen, place: where to
    show progress. wait: whether to wait for cells that other processes hold.
    """
    screen = Terminal(sys.stdout) if screen is None else screen
    return run_all([CellRun(cell, screen, place) for cell in cells], after, wait)


def run_all(runs: Sequence[CellRun], after: float = 0.0, wait: bool = False) -> list[RunResult]:
    """`run_cells` for cells that already have a screen."""
    try:
        with deterministic_algorithms(any(run.cell.config["deterministic"] for run in runs)):
            for run in runs:
                run.take(wait)
            _train([run for run in runs if run.to_train], after)
            for run in runs:
                run.judge()
                run.untrack()
    finally:
        for run in runs:
            run.untrack()
            run.release()
    return [run.outcome for run in runs if run.outcome is not None]


def _train(runs: Sequence[CellRun], after: float) -> None:
    reason = _attempt(runs, after) if runs else ""
    left = [run for run in runs if run.to_train]
    # not inside `except`, where the error keeps the memory of the failed batch alive
    if reason and left:
        # one cell may be at fault, or the batch may exceed the memory
        left[0].progress.note(f"batch of {len(left)} cells failed; retrying in halves: {reason}")
        torch.cuda.empty_cache()
        half = -(-len(left) // 2)
        _train(left[:half], after)
        _train(left[half:], after)


def _attempt(runs: Sequence[CellRun], after: float) -> str:
    """Train cells together; returns why the batch failed, empty if it did not or had one cell."""
    try:
        _train_together(runs, after)
    except Exception as error:
        if len(runs) > 1:
            return reason_of(error)
        runs[0].fail(error)
    return ""


def _train_together(runs: Sequence[CellRun], after: float) -> None:
    cell = runs[0].cell
    torch.set_num_threads(own_threads(cell.config["threads"]))
    keep_freed_memory()
    if cell.device != "cpu":
        torch.cuda.reset_peak_memory_stats(cell.device)
    started = time.monotonic()
    recorder = Recorder(runs, after)
    for run in runs:
        run.start()
    cell.job.train([run.cell for run in runs], recorder)
    for run in runs:
        if run.outcome is None:
            run.finish((time.monotonic() - started) / len(runs), len(runs))


def own_threads(threads: int | None) -> int:
    """This process's part of the CPU threads of a cell; None for all that it may use."""
    if threads is None:
        # torchrun sets one thread; srun gives each process its own cores
        threads = cores() if processes.launcher() == "torchrun" else THREADS
    return max(1, threads // processes.local_size())


class Recorder:
    """The listener of a job: records its reports in run folders, on W&B and on the screen."""

    def __init__(self, runs: Sequence[CellRun], after: float) -> None:
        self.runs, one = runs, runs[0].progress
        head = one.head
        if len(runs) > 1:
            numbers = sorted(run.at for run in runs)
            head = f"[{numbers[0]}-{numbers[-1]}/{runs[0].of}] {len(runs)} cells"
        self.progress = Progress(head, one.screen, one.place)
        self.latest: dict[int, float] = {}
        self.metric, self.after = "", after
        job = runs[0].cell.job
        self.epochs = job.epochs
        self.forecast = Forecast(job.epochs, evaluations(job.epochs, job.evaluate_every))
        self._show(0)

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        run = self.runs[cell]
        run.record(epoch, found)
        self.forecast.evaluated()
        value = found.metrics[run.headline]
        self.latest[cell] = float("nan") if value is None else value
        self.metric = f"{run.headline} {percent(float(np.mean([*self.latest.values()])))}"

    def failed(self, cell: int, error: Exception) -> None:
        if self.runs[cell].outcome is None:
            self.runs[cell].fail(error)

    def trained(self, cell: int, scorer: TrainedScorer) -> None:
        run = self.runs[cell]
        run.scorer = scorer if run.keeps_scorer else None

    def resumed(self, epoch: float) -> None:
        self.progress.note(f"resumes from epoch {epoch:.3g}")
        self.forecast.restart()

    def step(self, epoch: float) -> None:
        told = self.forecast.ready
        self.forecast.step(epoch)
        self._show(epoch)
        if self.forecast.ready and not told:
            self._tell_forecast()

    def _show(self, epoch: float) -> None:
        """Show the epoch, the latest metric and, once it is known, the time left."""
        text = f"epoch {epoch:.3g}/{self.epochs:g}  {self.metric}"
        if self.forecast.ready:
            left = self.forecast.left(epoch)
            text += f"  {duration(left)} left"
            if self.after:
                sweep = left + self.after * self.forecast.seconds
                text += f", sweep at most {duration(sweep)}"
        self.progress.status(text)

    def _tell_forecast(self) -> None:
        """Say once per process how long its cells will take, if that is worth a line."""
        seconds = self.forecast.seconds
        if seconds * (1 + self.after) < WORTH_A_FORECAST or _forecast_told:
            return
        _forecast_told.append(True)
        each = duration(seconds / len(self.runs))
        sweep = f", the sweep at most {duration(seconds * (1 + self.after))}" * bool(self.after)
        self.progress.note(f"about {each} per cell{sweep}")

    def status(self, text: str) -> None:
        self.progress.status(text)

    def note(self, text: str) -> None:
        self.progress.note(text)
