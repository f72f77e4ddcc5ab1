"""Runs the cells of a sweep as SLURM arrays, from what is missing to their results."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from experiments.batches import grouped
from experiments.cells import Planned
from experiments.slurm import queue
from experiments.slurm.sbatch import SlurmSettings, check_installed, submit
from experiments.slurm.submissions import QueuedTask, SubmittedCell, submissions
from experiments.slurm.submitted_cells import ended
from experiments.slurm.waiting import wait_for
from sympo.pipelines.progress import Screen
from sympo.pipelines.result import RunResult
from sympo.pipelines.runner import run_cells
from sympo.types import BadInput

# SLURM's default limit (MaxArraySize) is 1001
MOST_TASKS = 1000


def run_as_arrays(
    planned: Sequence[Planned], settings: SlurmSettings, screen: Screen
) -> list[RunResult]:
    """Run the cells that are not complete as tasks, and wait for them; returns all results.

    Cells that are in the queue already, from a command that was interrupted or still runs, are
    waited for and not submitted again. An interruption cancels no task.
    """
    found = _complete(planned, screen)
    left = [number for number in range(len(planned)) if number not in found]
    tasks = _in_queue([planned[number] for number in left], planned[0])
    taken = {cell.work for task in tasks for cell in task.cells}
    new = [number for number in left if SubmittedCell.of(planned[number]).work not in taken]
    if tasks:
        count = len(left) - len(new)
        screen.line(0, f"already in the queue: {count} cells ({_jobs(tasks)})")
    try:
        tasks += _submitted([planned[number] for number in new], settings, screen)
        lost = wait_for(tasks, screen)
    except KeyboardInterrupt:
        if tasks:
            print(
                f"\nthe tasks stay in SLURM's queue ({_jobs(tasks)}): the same command waits for "
                "them, and scancel with these numbers cancels them",
                file=sys.stderr,
            )
        raise
    places = {cell.work: (task, place) for task in tasks for place, cell in enumerate(task.cells)}
    for number in left:
        task, place = places[SubmittedCell.of(planned[number]).work]
        found[number] = _result(planned[number], task, place, lost.get(task.id, ""))
    return [found[number] for number in range(len(planned))]


def _complete(planned: Sequence[Planned], screen: Screen) -> dict[int, RunResult]:
    """The results of cells that need no task, by number."""
    numbers = [number for number, one in enumerate(planned) if _is_complete(one)]
    results = run_cells([planned[number].cell for number in numbers], screen=screen)
    return dict(zip(numbers, results, strict=True))


def _is_complete(one: Planned) -> bool:
    cell = one.cell
    judged = cell.judge is None  # else a task finds out what there is to judge
    return judged and cell.folder.completed_since(cell.since) and not cell.folder.other_sampler


def _in_queue(left: Sequence[Planned], any_cell: Planned) -> list[QueuedTask]:
    """The tasks of earlier commands that will run some of these cells."""
    wanted = {SubmittedCell.of(one).work for one in left}
    if not wanted:
        return []
    check_installed()
    seen = queue.states()
    if seen is None:
        raise BadInput("squeue does not answer, so nothing was submitted: try again")
    jobs = {id.partition("_")[0] for id, state in seen.items() if not state.ended}
    return [
        task
        for submission in submissions(any_cell.cell.config["results_dir"])
        if submission.job in jobs
        for task in submission.tasks()
        if task.id in seen and not seen[task.id].ended and task.outcomes() is None
        if any(cell.work in wanted for cell in task.cells)
    ]


def _submitted(new: Sequence[Planned], settings: SlurmSettings, screen: Screen) -> list[QueuedTask]:
    if not new:
        return []
    groups = grouped(new, lambda cell: settings.cells_per_task, processes=1)
    tasks = [[new[number] for number in group] for group in groups]
    found: list[QueuedTask] = []
    for first in range(0, len(tasks), MOST_TASKS):
        submission = submit(
            new[0].cell.config["results_dir"], tasks[first : first + MOST_TASKS], settings
        )
        mine = submission.tasks()
        screen.line(
            0,
            f"SLURM job {submission.job}: cells {sum(len(task.cells) for task in mine)}, tasks "
            f"{len(mine)}, logs in {submission.folder}",
        )
        found += mine
    return found


def _result(one: Planned, task: QueuedTask, place: int, lost: str) -> RunResult:
    """The result of a cell; that of a lost task may be complete nevertheless."""
    results = task.outcomes()
    if results is None:
        reason = f"SLURM task {task.id} was lost: {lost}; the same command runs the cell again"
        return ended(one.cell, reason, task.log)
    found = replace(results[place], folder=one.cell.folder.path)
    # it was not complete when this command began: a task that was queued again finished it before
    return replace(found, status="complete") if found.status == "skipped" else found


def _jobs(tasks: Sequence[QueuedTask]) -> str:
    jobs = sorted({task.submission.job for task in tasks}, key=int)
    return f"SLURM job{'s' * (len(jobs) > 1)} {', '.join(jobs)}"
