"""Jobs: what trains cells, and what a job reports while it runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sympo.types import Evaluation

if TYPE_CHECKING:
    from sympo.pipelines.cell import Cell


class TrainedScorer(Protocol):
    """What training a cell leaves in memory."""

    @property
    def model(self) -> Any:
        """The trained `torch.nn.Module`."""
        ...

    def rewards(self, split: str) -> np.ndarray:
        """Rewards of both items of every pair of `train`, `validation` or `test`, by a policy its
        implicit ones: (n, 2) float, the first item first, in the order of the split's pairs."""
        ...


class Reporter(Protocol):
    """Where a job says what it is doing."""

    def status(self, text: str) -> None:
        """What the job is doing, for a live line."""

    def note(self, text: str) -> None:
        """A message that deserves a line of its own."""


class Listener(Reporter, Protocol):
    """Records what a job finds."""

    def evaluation(self, cell: int, epoch: float, found: Evaluation) -> None:
        """The evaluation of one of the cells after some epochs."""

    def trained(self, cell: int, scorer: TrainedScorer) -> None:
        """One of the cells has been trained and evaluated to the end."""

    def failed(self, cell: int, error: Exception) -> None:
        """One of the cells has failed; the others continue. May be called again for it."""

    def resumed(self, epoch: float) -> None:
        """Training resumes from a checkpoint, after so many epochs."""

    def step(self, epoch: float) -> None:
        """How many epochs are done."""


class Job(Protocol):
    """How cells are trained and evaluated: a dataclass of settings.

    headlines: metrics of which progress shows the first that the data set allows. selected_by: the
    metric on noisy validation pairs that selects an epoch. leaves_samples: whether run folders get
    responses, which judges read. together: whether cells of one data set, model and schedule are
    trained in one batch.
    """

    headlines: ClassVar[tuple[str, ...]]
    selected_by: ClassVar[str]
    leaves_samples: ClassVar[bool]
    together: ClassVar[bool]

    @property
    def epochs(self) -> int: ...

    def check(self, cell: "Cell") -> None:
        """Refuse a cell that cannot work; raises BadInput, before any work."""
        ...

    def train(self, cells: "Sequence[Cell]", listener: Listener) -> None:
        """Train cells from their last checkpoints and report what each one does."""
        ...

    def lacks(self, cell: "Cell") -> str:
        """The setting by which the folder of a complete cell should hold what it does not, such as
        `save_model=true`; empty if nothing is missing."""
        ...


class SamplingJob(Job, Protocol):
    """A job that leaves responses: `leaves_samples` is True."""

    def can_sample_again(self, cell: "Cell") -> bool:
        """Whether the folder of a complete cell holds what `sample_again` needs."""
        ...

    def sample_again(self, cell: "Cell", reporter: "Reporter") -> Mapping[str, Evaluation]:
        """Replace the responses of a complete cell; what is measured on them, for `last` and
        `selected`."""
        ...


class BatchedJob(Job, Protocol):
    """A job whose cells are trained in one batch: `together` is True."""

    def images(self, cell: "Cell") -> int:
        """How many images a cell sends through its network in training, which its time depends
        on."""
        ...

    def bytes_per_cell(self, cell: "Cell") -> int:
        """The most GPU memory that one more cell of a batch takes."""
        ...
