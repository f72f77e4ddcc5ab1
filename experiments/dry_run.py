"""What a sweep would do and cost: its cells, its stages, and an estimate from a few timed steps."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from experiments import devices
from experiments.batches import batches, same_work, share_of_cores, useful_processes
from experiments.cells import Planned, prepare
from sympo.pipelines.cell import Cell
from sympo.pipelines.cell_run import peak_memory
from sympo.pipelines.forecast import Forecast, evaluations
from sympo.pipelines.progress import duration, heading
from sympo.pipelines.runner import THREADS
from sympo.process import keep_freed_memory
from sympo.runs.folder import RunFolder
from sympo.types import Evaluation

# a trial evaluates this share of the test pairs, validation pairs and prompts, and trains on so
# many batches per epoch
SHARE = 1 / 8
TRIAL_BATCHES = 4


class _Enough(Exception):
    """Enough has been timed."""


@dataclass
class _Timer:
    """A listener that times a job until a forecast is possible."""

    forecast: Forecast

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        self.forecast.evaluated()

    def step(self, epoch: float) -> None:
        self.forecast.step(epoch)
        if self.forecast.ready:
            raise _Enough

    def trained(self, cell: int, scorer: Any) -> None:
        pass

    def failed(self, cell: int, error: Exception) -> None:
        raise error

    def resumed(self, epoch: float) -> None:
        pass

    def status(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass(frozen=True)
class Estimate:
    """Seconds of a batch and of the stages that it lacks, and the peak memory of its process."""

    batch: float
    stages: float
    memory: int


def show(planned: Sequence[Planned], most: int | None, processes: int | None) -> None:
    """Print the cells of a sweep and an estimate of its time and memory; train nothing.

    most, processes: the launcher's settings.
    """
    left = []
    for number, one in enumerate(planned, 1):
        state = _state(one.cell)
        print(f"{heading(number, len(planned), one.cell.name)}  {state}")
        if state != "complete":
            left.append(one)
    count = f"{len(planned)} cell{'s' * (len(planned) != 1)}"
    print(f"\n{count}: {len(planned) - len(left)} complete, {len(left)} to run")
    if not left:
        return
    share = processes or useful_processes(left, devices.count())
    groups = batches(left, most, share)
    share = min(share, len(groups))
    kinds: dict[str, list[list[int]]] = {}
    for group in groups:
        kinds.setdefault(same_work(left[group[0]].cell), []).append(group)
    total, memory = 0.0, 0
    for work in kinds.values():
        cells = [left[number].cell for number in work[0]]
        print(f"model={cells[0].name.model} dataset={cells[0].name.dataset}")
        lacking = _lacking_stages(cells[0])
        found = estimate(cells, lacking, threads=share_of_cores(share) if share > 1 else None)
        print(f"  about {duration(found.batch / len(cells))} per cell", end="")
        print(f", {len(cells)} at a time" if len(cells) > 1 else "")
        print(f"  about {duration(found.stages)} for the missing stages" if lacking else "", end="")
        print("\n" if lacking else "", end="")
        batch = found.batch * len(work) * sum(map(len, work)) / (len(work) * len(cells))
        one_epoch = found.batch / len(cells) / cells[0].job.epochs
        cleaning = one_epoch * _filter_epochs([left[n].cell for group in work for n in group])
        print(f"  about {duration(cleaning)} for the filters\n" * bool(cleaning), end="")
        batch += cleaning
        total, memory = total + batch / share + found.stages, max(memory, found.memory)
    judged = any(one.cell.judge is not None for one in left)
    print(
        f"about {duration(total)} in all with {share} process{'es' * (share != 1)}, "
        f"peak memory about {share * memory / 1e9:.1f} GB{'; without judging' * judged}"
    )


def show_one(config: Any, choices: Mapping[str, Any]) -> None:
    """`show` for a single cell."""
    show([Planned(prepare(config, choices), choices)], 1, 1)


def estimate(cells: Sequence[Cell], lacking: Sequence[str], threads: int | None) -> Estimate:
    """Time a few steps and an evaluation of a batch, on real rows in a temporary folder.

    lacking: the stages that the sweep has to make.
    """
    cell = cells[0]
    torch.set_num_threads(cell.config["threads"] or threads or THREADS)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        trial = [_on_trial(one, Path(folder)) for one in cells]
        job = trial[0].job
        forecast = Forecast(job.epochs, evaluations(job.epochs, job.evaluate_every))
        try:
            job.train(trial, _Timer(forecast))
        except _Enough:
            pass
        finally:
            for one in trial:
                one.folder.release()
    memory = peak_memory(cell.device)
    if cell.dataset.holds == "images":
        return Estimate(forecast.seconds, 0.0, memory)
    step = forecast.per_epoch / job.steps_per_epoch(trial[0].dataset.train_pairs)
    full, few = _evaluated(cell), _evaluated(trial[0])
    evaluation = forecast.per_evaluation * full / few
    job, pairs = cell.job, _pairs(cell)
    batch = step * job.epochs * job.steps_per_epoch(pairs["train"])
    batch += evaluation * evaluations(job.epochs, job.evaluate_every)
    one_step, one_evaluation = step / len(cells), evaluation / len(cells)
    stages = 0.0
    if "sft" in lacking:
        sft = job.sft if job.leaves_samples else job.reference.sft
        # a pair has the tokens of about two responses
        stages += one_step * sft.epochs * pairs["train"] / job.batch_size / 2
    if "reference-logps" in lacking:
        stages += one_evaluation * sum(pairs.values()) / full
    if "reference-answers" in lacking:
        stages += one_evaluation / 2
    return Estimate(batch, stages, memory)


def _state(cell: Cell) -> str:
    if cell.folder.completed_since(cell.since):
        return "complete"
    return "resumes from a checkpoint" if cell.folder.checkpoint.is_file() else "to run"


def _lacking_stages(cell: Cell) -> list[str]:
    """Print which stages exist; returns the names of the others."""
    if cell.dataset.holds == "images":
        return []
    silent = SimpleNamespace(note=lambda text: None, status=lambda text: None)
    policies = cell.job.leaves_samples
    found = cell.job.shared(cell, silent).existing(
        stacked=policies and cell.job.trained_with(cell) is not None,
        reference_free=policies and cell.job.margin.reference_free,
    )
    for there, words in ((True, "stages kept"), (False, "stages to make")):
        if names := [name for name, exists in found.items() if exists is there]:
            print(f"  {words}: {', '.join(names)}")
    return [name for name, exists in found.items() if not exists]


def _filter_epochs(cells: Sequence[Cell]) -> int:
    """The epochs of all models that the filters of these cells ask, which losses share."""
    found = {}
    for cell in cells:
        if (one := cell.filter) is not None:
            shared = {**cell.config["filter"], "action": None}
            key = json.dumps([shared, cell.name.noise, cell.config["noise_model"], cell.name.seed])
            found[key] = one.models * min(one.epochs, cell.job.epochs)
    return sum(found.values())


def _on_trial(cell: Cell, folder: Path) -> Cell:
    """The cell on few rows, from the model's own weights, in another folder."""
    job, dataset = cell.job, cell.dataset
    if dataset.holds == "texts":
        pairs = _pairs(cell)
        few = {name: max(1, round(SHARE * pairs[name])) for name in ("validation", "test")}
        dataset = replace(
            dataset,
            train_pairs=min(pairs["train"], TRIAL_BATCHES * job.batch_size),
            validation_pairs=few["validation"],
            test_pairs=few["test"],
        )
        evaluated = max(1, round(SHARE * min(job.evaluated_train_pairs, pairs["train"])))
        job = replace(job, evaluate_every=job.epochs, evaluated_train_pairs=evaluated)
        if job.leaves_samples:
            prompts = max(1, round(SHARE * job.sampling.prompts))
            job = replace(
                job,
                sft=replace(job.sft, epochs=0),
                sampling=replace(job.sampling, prompts=prompts),
            )
        elif job.reference is not None:
            sft = replace(job.reference.sft, epochs=0)
            job = replace(job, reference=replace(job.reference, sft=sft))
    home = RunFolder(folder, cell.name, cell.folder.identity, cell.folder.sampler)
    home.acquire()
    home.start("", 0.0)
    config = {**cell.config, "results_dir": str(folder)}
    return replace(cell, job=job, dataset=dataset, folder=home, config=config, filter=None)


def _pairs(cell: Cell) -> dict[str, int]:
    """The pairs of each split of a data set of texts, before any is dropped by a tokenizer."""
    if cell.dataset.from_policy:
        names = ("train", "validation", "test")
        return {name: getattr(cell.dataset, f"{name}_pairs") for name in names}
    return {name: len(rows) for name, rows in cell.dataset.splits.items()}


def _evaluated(cell: Cell) -> int:
    """How many pairs an evaluation scores."""
    pairs, most = _pairs(cell), int(cell.job.evaluated_train_pairs)
    return pairs["test"] + pairs["validation"] + min(most, pairs["train"])
