"""What a job tells of itself while it runs."""

from typing import Protocol

from sympo.types import Evaluation


class Listener(Protocol):
    """Whoever runs a job and records what it finds."""

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        """What one of the cells that the job was given does after some epochs."""

    def failed(self, cell: int, error: Exception) -> None:
        """One of the cells cannot go on; the others do. Said again, it is no news."""

    def goes_on(self, epoch: float) -> None:
        """Training goes on from a checkpoint, after so many epochs."""

    def step(self, epoch: float) -> None:
        """How many epochs are done."""

    def status(self, text: str) -> None:
        """What the job is at, for a moment."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
