"""Which cells of a sweep are trained together, and in which processes."""

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

from omegaconf import OmegaConf

from experiments.cells import Planned, prepare
from sympo.pipelines.cell import Cell
from sympo.pipelines.progress import Screen
from sympo.pipelines.result import RunResult

# more at a time are no faster on a CPU (results/benchmarks/cells_per_second.json), and smaller
# batches spread evenly over its cores
CELLS_ON_CPU = 8
# starting a process takes as long as training on so many images
IMAGES_WORTH_A_PROCESS = 1_000_000
# between two messages of a process on how far it is
SECONDS_BETWEEN_LOOKS = 0.2
# of a GPU's free memory
SHARE_OF_MEMORY = 0.8


def batches(
    planned: Sequence[Planned], most: int | None = None, processes: int = 1
) -> list[list[int]]:
    """Which cells to train together, by number, each once.

    They share data set, model, schedule and device, and differ in loss, noise and seed; those of
    one seed stand together, since they share images and masks too. Batches of a kind are equally
    large, to within one cell.

    most: cells in a batch; None lets the memory and the caches say. processes: that share the work,
    for which there should be a batch each.
    """
    kinds: dict[str, list[int]] = {}
    for number, one in enumerate(planned):
        kinds.setdefault(_kind(one.cell, number), []).append(number)
    found = []
    for numbers in kinds.values():
        cell = planned[numbers[0]].cell
        numbers = sorted(numbers, key=lambda n: planned[n].cell.name.seed)
        size = min(most or len(numbers), _largest(cell, processes))
        rounds = -(-len(numbers) // (size * processes))
        count = min(len(numbers), rounds * processes)
        ends = [len(numbers) * part // count for part in range(count + 1)]
        found += [numbers[a:b] for a, b in pairwise(ends)]
    return found


def _kind(cell: Cell, number: int) -> str:
    """The same for cells that can be trained together."""
    if not cell.job.together:
        return str(number)
    settings = {key: cell.config[key] for key in ("job", "dataset", "model", "threads")}
    return json.dumps([settings, cell.device], sort_keys=True)


def _largest(cell: Cell, processes: int) -> int:
    """How many cells fit, where so many processes share the memory."""
    if not cell.job.together:
        return 1
    if cell.device == "cpu":
        return CELLS_ON_CPU
    import torch

    free = torch.cuda.mem_get_info(cell.device)[0]
    return max(1, int(SHARE_OF_MEMORY * free / processes / cell.job.bytes_per_cell(cell)))


def useful_processes(planned: Sequence[Planned]) -> int:
    """How many processes serve a sweep best: one for each core, as far as there is work for them,
    where its cells are trained together on CPU; otherwise this one alone."""
    cells = [one.cell for one in planned if not one.cell.folder.completed_since(one.cell.since)]
    if not cells or not all(cell.job.together and cell.device == "cpu" for cell in cells):
        return 1
    worth: int = sum(cell.job.images(cell) for cell in cells) // IMAGES_WORTH_A_PROCESS
    threads = max(cell.config["threads"] or 1 for cell in cells)
    return max(1, min(_cores() // threads, worth))


def _cores() -> int:
    """The CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def run_in_processes(
    batches: Sequence[Sequence[Planned]], processes: int, screen: Screen
) -> list[list[RunResult]]:
    """What became of batches that are run side by side, a CPU thread each unless `threads` is set.

    A process that dies takes its batch with it, and no other.
    """
    found: list[list[RunResult] | None] = [None] * len(batches)
    left, workers = deque(range(len(batches))), [_Worker(place) for place in range(processes)]
    busy: dict[Any, _Worker] = {}

    def give(worker: _Worker) -> None:
        if left:
            number = left.popleft()
            worker.give(number, batches[number], after=len(left) / processes)
            busy[worker.pipe] = worker

    try:
        for worker in workers:
            give(worker)
        while busy:
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):  # of a message that was cut, too
                    del busy[pipe]
                    found[worker.batch] = worker.died(batches[worker.batch], screen)
                    worker.start()
                    give(worker)
                    continue
                if kind == "outcomes":
                    del busy[pipe]
                    found[worker.batch] = content
                    give(worker)
                else:
                    getattr(screen, kind)(worker.place, content)
    finally:
        for worker in workers:
            worker.end()
    return [outcomes or [] for outcomes in found]


class _Worker:
    """A process that runs one batch after the other."""

    def __init__(self, place: int) -> None:
        self.place, self.batch = place, -1
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, self.place), daemon=True)
        self.process.start()
        other.close()

    def give(self, batch: int, cells: Sequence[Planned], after: float) -> None:
        self.batch = batch
        work = [(one.cell.config, one.choices) for one in cells], after
        try:
            self.pipe.send(work)
        except OSError:  # it died between two batches
            self.start()
            self.pipe.send(work)

    def died(self, batch: Sequence[Planned], screen: Screen) -> list[RunResult]:
        self.process.join()
        reason = f"its process ended with code {self.process.exitcode}"
        found = []
        for cell in (one.cell for one in batch):
            done = cell.folder.completed_since(cell.since)
            if not done:
                screen.line(self.place, f"{cell.name}  failed: {reason}")
            found.append(
                RunResult(str(cell.name), cell.folder.path, "complete")
                if done
                else RunResult(str(cell.name), cell.folder.path, "failed", reason)
            )
        return found

    def end(self) -> None:
        self.process.terminate()
        self.pipe.close()


class _ScreenOfParent:
    """Shows progress where the parent shows it; ends the process where there is no parent."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.said = pipe, 0.0

    def line(self, place: int, text: str) -> None:
        self._tell("line", text)

    def live(self, place: int, text: str) -> None:
        if time.monotonic() - self.said > SECONDS_BETWEEN_LOOKS:
            self.said = time.monotonic()
            self._tell("live", text)

    def _tell(self, kind: str, text: str) -> None:
        try:
            self.pipe.send((kind, text))
        except ConnectionError:  # it was killed: its cells are for whoever runs the sweep again
            os._exit(1)


def _work(pipe: Connection, place: int) -> None:
    from sympo.pipelines.runner import run_cells

    screen = _ScreenOfParent(pipe)
    try:
        for cells, after in _received(pipe):
            prepared = [
                prepare(OmegaConf.create({**config, "threads": config["threads"] or 1}), choices)
                for config, choices in cells
            ]
            pipe.send(("outcomes", run_cells(prepared, after, screen, place)))
    except KeyboardInterrupt:  # the parent says what there is to say
        pass


def _received(pipe: Connection) -> Iterator[Any]:
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return
