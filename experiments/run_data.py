"""The data sets of run folders, and judges that were trained on the same rows as a policy."""

import json
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from experiments.external_targets import refuse_external
from experiments.settings import kept
from sympo.data.text_dataset import TextDataset
from sympo.protocols.judging import Judge, JudgedData
from sympo.types import BadInput

log = logging.getLogger(__name__)


def dataset_of(folder: Path, external: bool = False) -> JudgedData:
    """The data set of a run, built from its config without reading its files.

    external: whether its class may be one from outside the project.
    """
    dataset: JudgedData = _built(folder, external)
    return dataset


def shares_training(judge: Judge, dataset: object, external: bool = False) -> bool:
    """Whether a judge may have been trained on training rows of a data set, as far as the config of
    its run says. external: as for `dataset_of`."""
    if judge.trained_in is None or not isinstance(dataset, TextDataset):
        return False
    try:
        own = _built(judge.trained_in, external)
    except BadInput:  # not known
        return False
    return isinstance(own, TextDataset) and own.shares_training(dataset)


def warn_of_leaks(name: str, judge: Judge, folders: Sequence[Path], external: bool = False) -> None:
    """One line if a judge may have seen the training rows of policies."""
    leaking = [
        folder
        for folder in folders
        if shares_training(judge, dataset_of(folder, external), external)
    ]
    if leaking:
        more = f" and {len(leaking) - 1} more" if len(leaking) > 1 else ""
        warn_of_shared(name, f"the policy in {leaking[0]}{more}")


def warn_of_shared(name: str, policies: str) -> None:
    """Say that a judge and policies may share training rows."""
    warn_once(
        f"judge={name} may have been trained on the rows that trained {policies}: train the judge "
        "with dataset.part=judge and policies with dataset.part=policies"
    )


@cache
def warn_once(sentence: str) -> None:
    """Log a warning, once in a process."""
    log.warning("%s", sentence)


def _built(folder: Path, external: bool) -> Any:
    file = folder / "config.yaml"
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))["dataset"]
        if not external:
            refuse_external(settings, "dataset")
        option = str(folder.parts[-4])
        return kept("dataset", option, json.dumps(settings, sort_keys=True))
    except BadInput as error:
        raise BadInput(f"{file} is not the config of a run: {error}") from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError,
            RecursionError, IndexError) as error:  # fmt: skip
        raise BadInput(f"{file} is not the config of a run ({type(error).__name__})") from error
