"""Runs one cell from its lock to its result: skipped, sampled again, trained, judged or failed."""

import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from sympo.distributed import processes, watch
from sympo.evaluation.selection import reported
from sympo.judges.judged_runs import CACHE, Verdicts
from sympo.pipelines.cell import Cell
from sympo.pipelines.judging import judged
from sympo.pipelines.progress import Progress, Screen, heading, percent
from sympo.pipelines.result import RunResult
from sympo.protocols.jobs import SamplingJob, TrainedScorer
from sympo.runs.adoption import adopt_run
from sympo.runs.names import full_name
from sympo.runs.provenance import environment
from sympo.secrets import redacted
from sympo.tracking import Tracker, hint, resolve_mode, under_agent
from sympo.types import Evaluation


class CellRun:
    """Runs one cell from its lock to its outcome.

    keeps_scorer: whether the trained scorer stays in memory, as `scorer`.
    """

    def __init__(self, cell: Cell, screen: Screen, place: int, keeps_scorer: bool = False) -> None:
        self.keeps_scorer, self.scorer = keeps_scorer, cast(TrainedScorer | None, None)
        self.cell, self.folder = cell, cell.folder
        at = cell.config["progress"]
        self.at, self.of = at["cell"], at["cells"]
        self.name = full_name(cell.name, at.get("differs"))
        head = heading(self.at, self.of, self.name)
        self.progress = Progress(head, screen, place)
        self.outcome: RunResult | None = None
        self.evaluations: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, str]] = []
        self.tracker: Tracker | None = None
        self.summary: dict[str, Any] | None = None
        self.locked = self.done = False

    @property
    def to_train(self) -> bool:
        return self.outcome is None and not self.done

    def take(self, wait: bool) -> None:
        """Lock the cell for this process, unless it is complete or another process holds it."""
        if self.at == 1 and (line := hint(self.cell.config["wandb"]["mode"])):
            self.progress.screen.line(self.progress.place, line)
        self._by_first(lambda: self._take(wait))
        if self.done and self.outcome is None and self.folder.other_sampler:
            try:
                self._sample_again()
            except Exception as error:
                self.fail(error)

    def _by_first(self, work: Callable[[], None]) -> None:
        """Do in the first process what is decided or written once; all take over its outcome."""

        def outcome() -> tuple[RunResult | None, bool]:
            work()
            return self.outcome, self.done

        self.outcome, self.done = processes.from_first(outcome)

    def _take(self, wait: bool) -> None:
        try:
            folder, since = self.folder, self.cell.since
            if line := adopt_run(folder, self._config_yaml):
                self.progress.note(line)
            done = folder.completed_since(since)
            if self.cell.judge is not None or not done or folder.other_sampler:
                self.locked = folder.acquire()
                if not self.locked:
                    self.progress.note("another process is running it")
                    if not wait:
                        self._end("busy")
                        return
                    self.locked = folder.acquire(wait=True)
                folder.roll_forward()
                if fault := folder.set_aside_damaged():
                    self.progress.note(f"{fault}; set aside as *.damaged, running the cell again")
            self.done = folder.completed_since(since)
            if self.done and not folder.other_sampler:
                self._found_complete()
        except Exception as error:
            self._failed(error)

    def _sample_again(self) -> None:
        """Draw the responses of a complete cell again with the requested sampler; a cell without
        saved weights must be trained again."""
        other, job = self.folder.other_sampler, cast(SamplingJob, self.cell.job)
        if not job.can_sample_again(self.cell):
            self.progress.note(
                f"its responses were drawn by sampler={other} and its weights were not saved "
                "(job.save_policy=true saves them); training again"
            )
            self.done = False
            return
        self.progress.note(f"its responses were drawn by sampler={other}; sampling again")
        if processes.first():
            shutil.rmtree(self.folder.unfinished, ignore_errors=True)  # of a killed forced run
            self.folder.unfinished.mkdir()
        found = job.sample_again(self.cell, self.progress)
        if processes.first():
            self.folder.replace_samples(found)
            self.folder.write_config(self._config_yaml())
            self.summary = self.folder.summary()
            self._mirror()
        self.progress.end("sampled again")

    def _track(self) -> None:
        """Open the W&B run of the cell, in place of an earlier one."""
        self.untrack()
        self.tracker = Tracker(self.folder, self.cell.config["wandb"], self.cell.config)

    def _mirror(self) -> None:
        """Replace the W&B run of a complete cell by what its folder holds."""
        self._track()
        assert self.tracker is not None
        for line in self.folder.history():
            self.tracker.log(line["epoch"] or 0, {k: v for k, v in line.items() if k != "epoch"})

    def _found_complete(self) -> None:
        self.progress.note(f"already complete: {self.folder.path}")
        if lacking := self.cell.job.lacks(self.cell):
            self.progress.note(f"was run without job.{lacking}; force=true runs it again")
        if self.cell.config["deterministic"] and not _was_deterministic(self.folder.summary()):
            self.progress.note("was run without deterministic=true; force=true runs it again")
        if self.folder.mend_config(self._config_yaml):
            self.progress.note("its config.yaml was garbled; set aside as *.damaged and rewritten")
        self.folder.tidy()
        if under_agent():  # which counts a run that logs nothing as crashed
            self._mirror()

    def _config_yaml(self) -> str:
        text: str = yaml.safe_dump(self.cell.config, sort_keys=False, allow_unicode=True)
        return text

    @property
    def _mirrored(self) -> bool:
        return resolve_mode(self.cell.config["wandb"]["mode"]) != "disabled"

    def start(self) -> None:
        """Open the folder and the W&B run."""
        self.evaluations, self.outcomes = [], []
        if processes.first():
            self.folder.start(self._config_yaml(), self.cell.since)
            self._track()
        processes.wait()  # the others may read what is left there

    def record(self, epoch: float, found: Evaluation) -> None:
        """Record one evaluation."""
        if self.tracker is not None:
            self.folder.log(epoch, found.metrics)
            self.tracker.log(epoch, found.metrics)
        self.evaluations.append({"epoch": epoch, **found.metrics})
        self.outcomes.append(found.outcomes)

    @property
    def headline(self) -> str:
        """The metric to show: the first of the job's headlines that the data set supports."""
        names: Sequence[str] = self.cell.job.headlines
        return next(name for name in names if name in self.evaluations[-1])

    def finish(self, seconds: float, trained_together: int) -> None:
        """Complete the cell. seconds: its share of the training time."""
        places = reported(self.evaluations, self.cell.job.selected_by)
        last, selected = (self.evaluations[place] for place in places)
        outcomes = (self.outcomes[place] for place in places)
        if not processes.first():
            self.done = True
            return
        self.folder.finish(
            last,
            selected,
            seconds,
            device=device_name(self.cell.device),
            environment=environment(self.cell.device),
            peak_memory_bytes=peak_memory(self.cell.device),
            trained_together=trained_together,
            processes=processes.size(),
            epochs=self.cell.job.epochs,
            symmetric_loss=self.cell.loss.properties.symmetric,
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
        tracker, self.tracker = self.tracker, None
        if tracker is not None:
            tracker.finish(self.folder.summary() if self.done else None)

    def judge(self) -> None:
        """Judge the responses if requested, and set the outcome of the cell."""
        if self.outcome is None:
            self._by_first(self._judge)

    def _judge(self) -> None:
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
                fresh = found is not None and found.status == "complete"
                if fresh and self.tracker is None and self._mirrored:
                    self._mirror()
                self._end("skipped" if self.summary is None else "complete")
        except Exception as error:
            self._failed(error)

    def fail(self, error: Exception) -> None:
        """Record that the cell failed; the others continue. A failure of one of several processes
        ends them all."""
        watch.agree(error, self.folder.fail)
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        reason = redacted(reason_of(error))
        if processes.first():
            with suppress(OSError):  # a full disk must not stop the other cells
                self.folder.fail(error)
        self.progress.note(f"failed: {reason} ({self.folder.error_log})")
        self.outcome = RunResult(
            self.name, self.folder.path, "failed", reason, self.folder.error_log
        )  # fmt: skip

    def _end(self, status: Any) -> None:
        self.outcome = RunResult(self.name, self.folder.path, status)

    def release(self) -> None:
        """Release the lock of the cell."""
        if self.locked:
            self.folder.release()
            self.locked = False


def _was_deterministic(summary: Mapping[str, Any]) -> bool:
    environment: Mapping[str, Any] = summary.get("environment", {})  # lacking in older runs
    return bool(environment.get("deterministic"))


def reason_of(error: Exception) -> str:
    return " ".join(traceback.format_exception_only(error)[-1].split())


def device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def peak_memory(device: str) -> int:
    """Peak memory in bytes: on a GPU of the batch trained together, on a CPU of the whole process
    so far."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
