"""Protocols of jobs, which train cells, and of listeners, which record what a job finds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sympo.types import Evaluation

if TYPE_CHECKING:
    from sympo.pipelines.cell import Cell


class TrainedScorer(Protocol):
    """The trained scorer of a cell, in memory."""

    @property
    def model(self) -> Any:
        """The trained `torch.nn.Module`."""
        ...

    def rewards(self, split: str) -> np.ndarray:
        """Rewards of both items of every pair in a split (`train`, `validation` or `test`); a
        policy gives implicit rewards. Returns (n, 2) float, the first item first, in the order of
        the split's pairs."""
        ...


class Reporter(Protocol):
    """Shows what a job is doing."""

    def status(self, text: str) -> None:
        """Show what the job is doing, in a live line."""

    def note(self, text: str) -> None:
        """Show a message in a permanent line."""


class Listener(Reporter, Protocol):
    """Records what a job finds."""

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        """Record an evaluation of one cell after `epoch` epochs."""

    def trained(self, cell: int, scorer: TrainedScorer) -> None:
        """One cell has finished training and evaluation."""

    def failed(self, cell: int, error: Exception) -> None:
        """One cell has failed while the others continue; may be called again for the same cell."""

    def resumed(self, epoch: float) -> None:
        """Training resumes from a checkpoint, after `epoch` epochs."""

    def step(self, epoch: float) -> None:
        """Training has done `epoch` epochs; with 0 it begins."""


class Job(Protocol):
    """A dataclass of settings that trains and evaluates cells.

    headlines: metrics in order of preference; progress shows the first one that the data set
    supports. selected_by: the metric on noisy validation pairs that selects an epoch.
    leaves_samples: whether run folders hold responses, which judges read.
    distributes: whether several processes can train a cell together.
    """

    headlines: ClassVar[tuple[str, ...]]
    selected_by: ClassVar[str]
    leaves_samples: ClassVar[bool]
    distributes: ClassVar[bool]

    @property
    def epochs(self) -> int: ...

    @property
    def evaluate_every(self) -> float:
        """Epochs between evaluations."""

    def check(self, cell: "Cell") -> None:
        """Refuse a cell that cannot run; raises BadInput, before any work."""
        ...

    def train(self, cells: "Sequence[Cell]", listener: Listener) -> None:
        """Train cells from their last checkpoints and report their progress."""
        ...

    def content(self) -> str | None:
        """The fingerprint of files that its settings name, None if they name none."""
        ...

    def trained_with(self, cell: "Cell") -> str | None:
        """A key: a cell is trained in one batch with cells of the same key that share its data set,
        model, job and device. None for a cell that is trained alone."""
        ...

    def lacks(self, cell: "Cell") -> str:
        """The setting whose output is missing from the folder of a complete cell, such as
        `save_model=true`; empty if nothing is missing."""
        ...


class SamplingJob(Job, Protocol):
    """A job whose run folders hold responses: `leaves_samples` is True."""

    def can_sample_again(self, cell: "Cell") -> bool:
        """Whether the folder of a complete cell holds what `sample_again` needs."""
        ...

    def sample_again(self, cell: "Cell", reporter: "Reporter") -> Mapping[str, Evaluation]:
        """Replace the responses of a complete cell; returns the evaluations on them for `last` and
        `selected`."""
        ...


class BatchedJob(Job, Protocol):
    """A job whose cells can be trained in one batch, if `trained_with` is not None."""

    def starts(self, cell: "Cell") -> float:
        """About how long training a cell takes, in units of starting a process."""
        ...

    def bytes_per_cell(self, cell: "Cell") -> int:
        """The peak GPU memory that each further cell adds to a batch."""
        ...
