"""Checkpoints of the training of one cell on pairs of texts: one file, or parts by process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from sympo.distributed import processes
from sympo.pipelines.preference import Record, Run
from sympo.runs import checkpoints
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import BadInput


class TrainingCheckpoints(ABC):
    """Saves and restores a trainer together with what its run has recorded."""

    def __init__(self, run: Run, trainer: PreferenceTrainer) -> None:
        self.run, self.trainer = run, trainer

    @abstractmethod
    def restore(self, note: Callable[[str], None]) -> Mapping[str, Any] | None:
        """Resume the trainer from the last checkpoint; returns the run's part of it, None if there
        is no checkpoint that can be used."""

    @abstractmethod
    def takes_part(self, late: bool) -> bool:
        """Whether this process has to save now. late: whether it is time by its own clock."""

    @abstractmethod
    def save(self, record: Record | None = None) -> None:
        """Save the trainer, and a record of the run, by default as it is now."""


class OneFile(TrainingCheckpoints):
    """The first process writes whole weights and moments to a file."""

    def restore(self, note: Callable[[str], None]) -> Mapping[str, Any] | None:
        state = checkpoints.load(self.run.cell.folder, PreferenceTrainer, note)
        if not processes.everywhere(state is not None) or state is None:
            return None
        self.trainer.restore(state["trainer"])
        return state

    def takes_part(self, late: bool) -> bool:
        return late and processes.first()

    def save(self, record: Record | None = None) -> None:
        state = {"trainer": self.trainer.state(), **self.run.state(record)}
        checkpoints.save(state, self.run.cell.folder, PreferenceTrainer)


class PartsByProcess(TrainingCheckpoints):
    """Each process writes its rows of weights and moments, which any number of processes read."""

    def restore(self, note: Callable[[str], None]) -> Mapping[str, Any] | None:
        from sympo.distributed import load_into

        folder, trainer = self.run.cell.folder.divided_checkpoint, self.trainer
        if not processes.from_first(folder.is_dir):
            return None
        try:
            state = load_into(folder, trainer.scorer.model, trainer.optimizer.adam)
        except BadInput as error:
            note(f"starts over: {error}")
            return None
        trainer.restore_progress(state["trainer"])
        return state

    def takes_part(self, late: bool) -> bool:
        return processes.from_first(lambda: late)

    def save(self, record: Record | None = None) -> None:
        from sympo.distributed import save_sharded

        trainer = self.trainer
        state = {"trainer": trainer.progress(), **self.run.state(record)}
        folder = self.run.cell.folder.divided_checkpoint
        save_sharded(folder, trainer.scorer.model, trainer.optimizer.adam, state)
