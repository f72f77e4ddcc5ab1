"""Runs cells, one or several together: lock, skip or start, record, tell what became of them."""

import resource
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from experiments.cells import Cell, prepare
from experiments.judge import CACHE, Verdicts, judged
from experiments.outcomes import Outcome
from experiments.progress import Progress, Screen, Terminal, heading, percent
from sympo.evaluation.selection import reported
from sympo.tracking import Tracker, hint
from sympo.types import Evaluation

THREADS = torch.get_num_threads()


def run_cell(config: DictConfig, choices: Mapping[str, Any], wait: bool) -> Outcome:
    """Run a cell unless it is complete. Raises BadInput before any work; a cell that fails after
    that leaves `error.log` and an outcome, and stops no other.

    wait: where another process is at work on the cell, wait for it; otherwise say `busy`.
    """
    cell = prepare(config, choices)
    progress = cell.config["progress"]
    (outcome,) = run_cells([cell], after=progress["cells"] - progress["cell"], wait=wait)
    return outcome


def run_cells(
    cells: Sequence[Cell],
    after: float = 0.0,
    screen: Screen | None = None,
    place: int = 0,
    wait: bool = False,
) -> list[Outcome]:
    """What became of cells that are run together: data set, model, schedule and device the same.

    after: how often as much as this is still to come in the sweep; screen, place: where to show
    progress.
    """
    screen = Terminal(sys.stdout) if screen is None else screen
    runs = [CellRun(cell, screen, place) for cell in cells]
    try:
        for run in runs:
            run.take(wait)
        _train([run for run in runs if run.to_train], after)
        for run in runs:
            run.judge()
    finally:
        for run in runs:
            run.release()
    return [run.outcome for run in runs if run.outcome is not None]


def _train(runs: Sequence["CellRun"], after: float) -> None:
    reason = _attempt(runs, after) if runs else ""
    left = [run for run in runs if run.to_train]
    # here, not where the error is at hand, which holds on to the memory of what failed
    if reason and left:
        # one of them may be at fault, or all together more than memory holds
        left[0].progress.note(f"{len(left)} cells failed together, now in halves: {reason}")
        torch.cuda.empty_cache()
        half = -(-len(left) // 2)
        _train(left[:half], after)
        _train(left[half:], after)


def _attempt(runs: Sequence["CellRun"], after: float) -> str:
    """Train cells together; why it failed, unless the one that failed is known."""
    try:
        _train_together(runs, after)
    except Exception as error:
        if len(runs) > 1:
            return _reason(error)
        runs[0].fail(error)
    return ""


def _reason(error: Exception) -> str:
    return " ".join(traceback.format_exception_only(error)[-1].split())


def _train_together(runs: Sequence["CellRun"], after: float) -> None:
    cell = runs[0].cell
    torch.set_num_threads(cell.config["threads"] or THREADS)
    if cell.device != "cpu":
        torch.cuda.reset_peak_memory_stats(cell.device)
    started = time.monotonic()
    recorder = Recorder(runs, after)
    try:
        for run in runs:
            run.start()
        cell.job.train([run.cell for run in runs], recorder)
        for run in runs:
            if run.outcome is None:
                run.finish((time.monotonic() - started) / len(runs), len(runs))
    finally:
        for run in runs:
            run.untrack()


class CellRun:
    """One cell, from its lock to its outcome."""

    def __init__(self, cell: Cell, screen: Screen, place: int) -> None:
        self.cell, self.folder, self.name = cell, cell.folder, str(cell.name)
        at = cell.config["progress"]
        self.at, self.of = at["cell"], at["cells"]
        head = heading(self.at, self.of, cell.name)
        self.progress = Progress(head, cell.job.epochs, screen=screen, place=place)
        self.outcome: Outcome | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, str]] = []
        self.tracker: Tracker | None = None
        self.summary: dict[str, Any] | None = None
        self.locked = self.done = False

    @property
    def to_train(self) -> bool:
        return self.outcome is None and not self.done

    def take(self, wait: bool) -> None:
        """Take the cell for this process, unless it is complete or another one is at work on it."""
        if self.at == 1 and (line := hint(self.cell.config["wandb"]["mode"])):
            self.progress.screen.line(self.progress.place, line)
        try:
            folder, since = self.folder, self.cell.since
            if self.cell.judge is not None or not folder.completed_since(since):
                self.locked = folder.acquire()
                if not self.locked:
                    self.progress.note("another process is at work on it")
                    if not wait:
                        self._ends("busy")
                        return
                    self.locked = folder.acquire(wait=True)
                if fault := folder.set_aside_damaged():
                    self.progress.note(f"{fault}; set aside as *.damaged, the cell is run again")
            self.done = folder.completed_since(since)
            if self.done:
                self._found_complete()
        except Exception as error:
            self.fail(error)

    def _found_complete(self) -> None:
        self.progress.note(f"complete already: {self.folder.path}")
        if lacking := _lacking(self.cell):
            self.progress.note(f"it was run without {lacking}; force=true runs it again")
        if self.folder.mend_config(self._config_yaml):
            self.progress.note("its config.yaml was garbled and is written again")
        self.folder.tidy()

    def _config_yaml(self) -> str:
        return OmegaConf.to_yaml(OmegaConf.create(self.cell.config))

    def start(self) -> None:
        """Open the folder and the W&B run."""
        self.evaluations, self.outcomes = [], []
        self.folder.start(self._config_yaml(), self.cell.since)
        self.tracker = Tracker(self.folder, self.cell.config["wandb"], self.cell.config)

    def record(self, epoch: float, found: Evaluation) -> None:
        """Write down one evaluation."""
        assert self.tracker is not None
        self.folder.log(epoch, found.metrics)
        self.tracker.log(epoch, found.metrics)
        self.evaluations.append({"epoch": epoch, **found.metrics})
        self.outcomes.append(found.outcomes)

    @property
    def headline(self) -> str:
        """The number to show: the first of the job's headlines that the data set allows."""
        return next(name for name in self.cell.job.headlines if name in self.evaluations[-1])

    def finish(self, seconds: float, trained_together: int) -> None:
        """Complete the cell. seconds: its share of the time."""
        places = reported(self.evaluations, self.cell.job.selected_by)
        last, selected = (self.evaluations[place] for place in places)
        outcomes = (self.outcomes[place] for place in places)
        self.folder.finish(
            last,
            selected,
            seconds,
            device=_device_name(self.cell.device),
            peak_memory_bytes=_peak_memory(self.cell.device),
            trained_together=trained_together,
            epochs=self.cell.job.epochs,
            outcomes=dict(zip(("last", "selected"), outcomes, strict=True)),
        )
        self.summary = self.folder.summary()
        self.done = True
        self.progress.end(
            f"{self.headline} {percent(last[self.headline])} at the last epoch, "
            f"{percent(selected[self.headline])} at epoch {selected['epoch']:g} (noisy validation)"
        )

    def untrack(self) -> None:
        """Close the W&B run, if one is open."""
        if self.tracker is not None:
            self.tracker.finish(self.summary)
        self.tracker = None

    def judge(self) -> None:
        """Have the answers judged where that is asked for, and say what became of the cell."""
        if self.outcome is not None:
            return
        try:
            found = None
            if self.cell.judge is not None:
                verdicts = Verdicts(
                    Path(self.cell.config["results_dir"]) / CACHE, self.cell.since
                )  # fmt: skip
                found = judged(
                    self.folder.path, self.name, self.cell.judge_name, self.cell.judge, verdicts,
                    self.progress, lambda _: self.cell.dataset,
                )  # fmt: skip
            if found is not None and found.status == "failed":
                self.outcome = found
            else:
                self._ends("skipped" if self.summary is None else "complete")
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The cell failed; the others go on."""
        reason = _reason(error)
        with suppress(OSError):  # a full disk must not stop the other cells
            self.folder.fail(error)
        self.progress.note(f"failed: {reason} ({self.folder.error_log})")
        self.outcome = Outcome(
            self.name, self.folder.path, "failed", reason, self.folder.error_log
        )  # fmt: skip

    def _ends(self, status: Any) -> None:
        self.outcome = Outcome(self.name, self.folder.path, status)

    def release(self) -> None:
        """Let other processes have the cell."""
        if self.locked:
            self.folder.release()
            self.locked = False


class Recorder:
    """Hears a job, and passes on what it says: to the cells' folders, to W&B, to the screen."""

    def __init__(self, runs: Sequence[CellRun], after: float) -> None:
        self.runs, one = runs, runs[0].progress
        head = one.head
        if len(runs) > 1:
            numbers = sorted(run.at for run in runs)
            head = f"[{numbers[0]}-{numbers[-1]}/{runs[0].of}] {len(runs)} cells"
        self.progress = Progress(head, one.epochs, after, one.screen, one.place)
        self.progress.update(0)
        self.latest: dict[int, float] = {}

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        run = self.runs[cell]
        run.record(epoch, found)
        value = found.metrics[run.headline]
        self.latest[cell] = float("nan") if value is None else value
        self.progress.metric = f"{run.headline} {percent(float(np.mean([*self.latest.values()])))}"

    def failed(self, cell: int, error: Exception) -> None:
        if self.runs[cell].outcome is None:
            self.runs[cell].fail(error)

    def goes_on(self, epoch: float) -> None:
        self.progress.note(f"goes on from epoch {epoch:.3g}")
        self.progress.restart(epoch)

    def step(self, epoch: float) -> None:
        self.progress.update(epoch)

    def status(self, text: str) -> None:
        self.progress.status(text)

    def note(self, text: str) -> None:
        self.progress.note(text)


def _lacking(cell: Cell) -> str | None:
    """The setting by which a cell should have left what is not in its folder."""
    if not getattr(cell.model, "reads_tokens", False):
        return None  # nothing of it is ever saved
    for what in ("model", "policy"):
        if getattr(cell.job, f"save_{what}", False) and not (cell.folder.path / what).is_dir():
            return f"job.save_{what}=true"
    return None


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def _peak_memory(device: str) -> int:
    """Of what was trained together on a GPU; on CPU of the process so far, which runs one after
    another."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
