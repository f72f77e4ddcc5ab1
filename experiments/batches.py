"""Groups the cells of a sweep into batches, and runs batches in processes."""

import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

from omegaconf import OmegaConf

from experiments.cells import Planned, prepare
from experiments.devices import use
from sympo.pipelines.cell import Cell
from sympo.pipelines.progress import Screen
from sympo.pipelines.result import RunResult
from sympo.process import cores, start_worker

# larger batches are no faster on a CPU (results/benchmarks/cells_per_second.json), and smaller
# ones spread evenly over its cores
CELLS_ON_CPU = 8
# between progress messages of a process
SECONDS_BETWEEN_LOOKS = 0.2
# of a GPU's free memory that a batch may take
SHARE_OF_MEMORY = 0.8
SAME_WORK = ("job", "dataset", "model", "threads", "deterministic")


def batches(
    planned: Sequence[Planned], most: int | None = None, processes: int = 1
) -> list[list[int]]:
    """Group cells, by number, into batches to train together.

    The cells of a batch share data set, model, schedule and device, and differ in loss, noise and
    seed. Cells of one seed are adjacent, because they also share images and masks. The sizes of
    batches of a kind differ by at most one cell.

    most: the most cells in a batch; None leaves it to memory and caches. processes: how many share
    the work; each should get a batch.
    """

    def largest(cell: Cell) -> int:
        return min(most or len(planned), _largest(cell, processes))

    return grouped(planned, largest, processes)


def grouped(
    planned: Sequence[Planned], largest: Callable[[Cell], int], processes: int
) -> list[list[int]]:
    """`batches` of at most `largest` cells of a kind, given one of its cells."""
    kinds: dict[str, list[int]] = {}
    for number, one in enumerate(planned):
        kinds.setdefault(_kind(one.cell, number), []).append(number)
    found = []
    for numbers in kinds.values():
        cell = planned[numbers[0]].cell
        numbers = sorted(numbers, key=lambda n: planned[n].cell.name.seed)
        size = min(largest(cell), len(numbers))
        rounds = -(-len(numbers) // (size * processes))
        count = min(len(numbers), rounds * processes)
        ends = [len(numbers) * part // count for part in range(count + 1)]
        found += [numbers[a:b] for a, b in pairwise(ends)]
    return found


def number(batches: Sequence[Sequence[Planned]]) -> None:
    """Number the cells in the order in which they run, so that a batch is a range of numbers."""
    cells = [one.cell for batch in batches for one in batch]
    numbers = sorted(cell.config["progress"]["cell"] for cell in cells)
    for place, cell in zip(numbers, cells, strict=True):
        cell.config["progress"]["cell"] = place


def _kind(cell: Cell, number: int) -> str:
    """A key that is equal for cells that can be trained together."""
    key = cell.job.trained_with(cell)
    if key is None:
        return str(number)
    return json.dumps([same_work(cell), key])


def same_work(cell: Cell) -> str:
    """A key that is equal for cells that take equally long."""
    settings = {name: cell.config[name] for name in SAME_WORK}
    return json.dumps([settings, cell.device], sort_keys=True)


def _largest(cell: Cell, processes: int) -> int:
    """How many cells fit in a batch if `processes` processes share the memory."""
    if cell.job.trained_with(cell) is None:
        return 1
    if cell.device == "cpu":
        return CELLS_ON_CPU
    import torch

    free = torch.cuda.mem_get_info(cell.device)[0]
    return max(1, int(SHARE_OF_MEMORY * free / processes / cell.job.bytes_per_cell(cell)))


def useful_processes(planned: Sequence[Planned], devices: int = 1) -> int:
    """How many processes speed up a sweep: up to one per core, depending on the work, if its cells
    are trained together on CPU; up to one per device if they are trained alone on any GPU;
    otherwise one."""
    cells = [one.cell for one in planned if not one.cell.folder.completed_since(one.cell.since)]
    alone = [cell.job.trained_with(cell) is None for cell in cells]
    if cells and all(alone) and all(cell.device == "cuda" for cell in cells):
        return max(1, min(devices, len(cells)))
    if not cells or any(alone) or not all(cell.device == "cpu" for cell in cells):
        return 1
    worth = int(sum(cell.job.starts(cell) for cell in cells))
    threads = max(cell.config["threads"] or 1 for cell in cells)
    return max(1, min(cores() // threads, worth))


def share_of_cores(processes: int) -> int:
    """The CPU threads of each of so many processes."""
    return max(1, cores() // processes)


def run_in_processes(
    batches: Sequence[Sequence[Planned]],
    processes: int,
    screen: Screen,
    devices: Sequence[int] = (),
) -> list[list[RunResult]]:
    """Run batches in parallel, with an equal share of the CPU's cores each unless `threads` is set;
    returns their results.

    A process that dies fails only its own batch. devices: that are reserved for the processes, in
    turn if there are fewer.
    """
    found: list[list[RunResult] | None] = [None] * len(batches)
    setting = [
        Setting(share_of_cores(processes), devices[place % len(devices)] if devices else None)
        for place in range(processes)
    ]
    left = deque(range(len(batches)))
    workers = [_Worker(place, one) for place, one in enumerate(setting)]
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
                except (EOFError, OSError):  # also raised on a truncated message
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


@dataclass(frozen=True)
class Setting:
    """What a process computes with: CPU threads, and a CUDA device, None if none is reserved."""

    threads: int
    device: int | None


class _Worker:
    """A process that runs one batch after another."""

    def __init__(self, place: int, setting: Setting) -> None:
        self.place, self.setting, self.batch = place, setting, -1
        self.start()

    def start(self) -> None:
        self.pipe, other = multiprocessing.Pipe()
        setting = f"Setting({self.setting.threads}, {self.setting.device})"
        call = f"work({other.fileno()}, {self.place}, {setting})"
        code = f"from experiments.batches import Setting, work; {call}"
        self.process = start_worker(code, [other.fileno()])
        other.close()

    def give(self, batch: int, cells: Sequence[Planned], after: float) -> None:
        self.batch = batch
        work = [(one.cell.config, one.choices) for one in cells], after
        try:
            self.pipe.send(work)
        except OSError:  # the process died between two batches
            self.start()
            self.pipe.send(work)

    def died(self, batch: Sequence[Planned], screen: Screen) -> list[RunResult]:
        reason = f"its process exited with code {self.process.wait()}"
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
        self.process.wait()
        self.pipe.close()


class _ScreenOfParent:
    """Sends progress to the parent's screen."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.said = pipe, 0.0

    def line(self, place: int, text: str) -> None:
        self._send("line", text)

    def live(self, place: int, text: str) -> None:
        if time.monotonic() - self.said > SECONDS_BETWEEN_LOOKS:
            self.said = time.monotonic()
            self._send("live", text)

    def _send(self, kind: str, text: str) -> None:
        try:
            self.pipe.send((kind, text))
        except ConnectionError:  # the parent was killed: the next run takes these cells
            os._exit(1)


def work(descriptor: int, place: int, setting: Setting) -> None:
    """Run the batches that arrive through a connection, until it is closed.

    descriptor: of the connection. place: the worker's line on the screen.
    """
    use(setting.device)
    from sympo.pipelines.runner import run_cells

    pipe = Connection(descriptor)
    screen = _ScreenOfParent(pipe)
    try:
        for cells, after in _received(pipe):
            prepared = [
                prepare(
                    OmegaConf.create({**config, "threads": config["threads"] or setting.threads}),
                    choices,
                )
                for config, choices in cells
            ]
            pipe.send(("outcomes", run_cells(prepared, after, screen, place)))
    except KeyboardInterrupt:  # the parent reports it
        pass


def _received(pipe: Connection) -> Iterator[Any]:
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return
