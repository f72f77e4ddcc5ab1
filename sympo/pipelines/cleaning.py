"""What a filter decides about the training pairs of a cell: made once, shared by all losses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sympo import seeding
from sympo.evaluation.flips import filter_metrics
from sympo.identity import joined
from sympo.pipelines.cell import Cell
from sympo.protocols.cleaning import CleaningModels, Filter
from sympo.runs.stages import Stages
from sympo.types import NoisyPairs

# the seeds of so many models
Models = Callable[[list[int]], CleaningModels]


def cleaned(
    cell: Cell, noisy: NoisyPairs, models: Models, note: Callable[[str], object]
) -> NoisyPairs:
    """The training pairs of a cell after its filter; unchanged without one.

    models: makes the models that the filter asks, from their seeds. The decision is a shared stage,
    keyed by everything that determines it: data, flips, seed, model, filter, batch size and
    learning rate, but neither the loss of the cell nor its epochs.
    """
    if cell.filter is None:
        return noisy
    chosen: Filter = cell.filter
    own, job = cell.folder.identity, cell.job

    def make(folder: Path) -> None:
        seed = cell.name.seed
        seeds = [seeding.derive(seed, "filter", str(number)) for number in range(chosen.models)]
        suspects = chosen.suspects(models(seeds), noisy.pairs.ids, seed)
        np.savez(folder / "suspects.npz", suspects=suspects)

    key = joined(
        **{name: own[name] for name in ("dataset", "noise_model", "model")},
        filter=own["filter"].without("action"),
        noise=cell.name.noise,
        seed=cell.name.seed,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
    )
    stages = Stages(Path(cell.config["results_dir"]) / "stages", note, cell.since)
    with np.load(stages.get("filter", key, make) / "suspects.npz") as found:
        return noisy.cleaned(found["suspects"], chosen.action)


def cleaning_metrics(noisy: NoisyPairs) -> dict[str, float | None]:
    """The metrics of what a filter did to training pairs, by their paths; empty without one."""
    suspects = noisy.turned if noisy.weight is None else noisy.weight == 0
    if suspects is None:
        return {}
    found = filter_metrics(suspects, noisy.flipped)
    return {f"train/{name}": value for name, value in found.items()}
