"""What a filter decides about the training pairs of a cell: made once, shared by all losses."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sympo import seeding
from sympo.distributed import processes
from sympo.evaluation.flips import filter_metrics
from sympo.identity import joined, part_identity
from sympo.pipelines.cell import Cell
from sympo.protocols.cleaning import CleaningModels, Filter
from sympo.runs.stages import Stages
from sympo.types import BadInput, NoisyPairs

# settings of a job that matter to trained cells only
AFTER_CLEANING = ("epochs", "evaluate_every", "evaluated_train_pairs")
# from the seeds of models and their epochs
Models = Callable[[list[int], int], CleaningModels]


def cleaned(
    cell: Cell, noisy: NoisyPairs, models: Models, note: Callable[[str], None]
) -> NoisyPairs:
    """The training pairs of a cell after its filter; unchanged without one.

    models: makes the models that the filter asks, from their seeds and their epochs, which are
    those of the filter, but not more than the cell's own. The decision is a shared stage,
    keyed by everything that determines it: pairs, noisy labels, seed, model, filter and the
    settings of the job, but not the loss of the cell. BadInput if no pair is left.
    """
    if cell.filter is None:
        return noisy
    epochs = min(cell.filter.epochs, cell.job.epochs)
    chosen: Filter = replace(cell.filter, epochs=epochs)
    own = cell.folder.identity

    def make(folder: Path) -> None:
        seed = cell.name.seed
        seeds = [seeding.derive(seed, "filter", str(number)) for number in range(chosen.models)]
        doubt = chosen.suspects(models(seeds, epochs), noisy.pairs.ids, seed)
        if processes.first():
            np.savez(folder / "suspects.npz", suspects=doubt)

    key = joined(
        **{name: own[name] for name in ("dataset", "noise_model", "model")},
        filter=part_identity(chosen).without("action"),
        job=own["job"].without(*AFTER_CLEANING),
        noise=cell.name.noise,
        seed=cell.name.seed,
        labels=_digest(noisy),
    )
    root = Path(cell.config["results_dir"]) / "stages"
    stages = Stages(root, note, cell.since, together=True)
    with np.load(stages.get("filter", key, make) / "suspects.npz") as kept:
        doubt = kept["suspects"]
    found = noisy.cleaned(doubt, chosen.action)
    if found.weight is not None and not found.weight.any():
        raise BadInput(
            f"the filter {chosen.identity} doubts all {len(doubt)} training pairs and leaves "
            "none: try more pairs or epochs, or filter.action=flip"
        )
    return found


def _digest(noisy: NoisyPairs) -> str:
    content = noisy.pairs.ids.tobytes() + np.sign(noisy.noisy_label).astype(np.int8).tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def cleaning_metrics(noisy: NoisyPairs) -> dict[str, float | None]:
    """The metrics of what a filter did to training pairs, by their paths; empty without one."""
    if noisy.doubt is None:
        return {}
    found = filter_metrics(noisy.doubt, noisy.flipped)
    return {f"train/{name}": value for name, value in found.items()}
