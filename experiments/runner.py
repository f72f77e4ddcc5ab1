"""Runs one cell: lock, skip or start, record, and tell what became of it."""

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.cells import Cell, prepare
from experiments.outcomes import Outcome
from experiments.progress import Progress, percent
from sympo.evaluation.selection import earliest_best
from sympo.tracking import Tracker, hint


def run_cell(config: DictConfig, choices: Mapping[str, Any]) -> Outcome:
    """Run a cell unless it is complete. Raises BadInput before any work; a cell that fails after
    that leaves `error.log` and an outcome, and stops no other."""
    cell = prepare(config, choices)
    folder, force = cell.folder, cell.config["force"]
    at, of = cell.config["progress"]["cell"], cell.config["progress"]["cells"]
    if at == 1 and (line := hint(cell.config["wandb"]["mode"])):
        print(line, flush=True)
    head = f"[{at:>{len(str(of))}}/{of}] {cell.name}"
    if folder.complete and not force:
        print(f"{head}  complete already: {folder.path}", flush=True)
        return Outcome(str(cell.name), folder.path, "skipped")
    if not folder.acquire():
        print(f"{head}  another process is at work on it", flush=True)
        return Outcome(str(cell.name), folder.path, "busy")
    try:
        if folder.complete and not force:  # finished elsewhere between the two looks
            print(f"{head}  complete already: {folder.path}", flush=True)
            return Outcome(str(cell.name), folder.path, "skipped")
        return _run(cell, Progress(str(cell.name), at, of, cell.job.epochs))
    finally:
        folder.release()


def _run(cell: Cell, progress: Progress) -> Outcome:
    folder, job = cell.folder, cell.job
    folder.start(OmegaConf.to_yaml(OmegaConf.create(cell.config)))
    tracker = Tracker(folder, cell.config["wandb"], cell.config)
    evaluations: list[dict[str, Any]] = []

    def on_evaluation(epoch: int, metrics: list[dict[str, Any]]) -> None:
        (found,) = metrics
        folder.log(epoch, found)
        tracker.log(epoch, found)
        evaluations.append({"epoch": epoch, **found})
        progress.update(epoch, job.headline, found[job.headline])

    summary = None
    try:
        if cell.config["threads"] is not None:
            torch.set_num_threads(cell.config["threads"])
        job.train([cell], on_evaluation)
        last, selected = evaluations[-1], earliest_best(evaluations, job.selected_by)
        folder.finish(last, selected, cell.device, epochs=job.epochs)
        summary = folder.summary()
    except Exception as error:
        folder.fail(error)
        reason = " ".join(traceback.format_exception_only(error)[-1].split())
        progress.end(f"failed: {reason} ({folder.error_log})")
        return Outcome(str(cell.name), folder.path, "failed", reason)
    finally:
        tracker.finish(summary)
    progress.end(
        f"{job.headline} {percent(last[job.headline])} at the last epoch, "
        f"{percent(selected[job.headline])} at epoch {selected['epoch']} (noisy validation)"
    )
    return Outcome(str(cell.name), folder.path, "complete")
