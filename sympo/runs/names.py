"""The names of cells: in folders, and within a sweep, where only what differs is shown."""

from collections.abc import Mapping
from dataclasses import dataclass

# the default of the group `protocol`, which no summary names that was written before that group
CORRECTED = "corrected"
# settings that a cell's name shows in any case
_IN_NAME = ("dataset", "loss", "noise", "seed")


@dataclass(frozen=True)
class CellName:
    """The name of a cell: the options chosen for its groups, its noise rate and its seed.

    protocol: the option that set its settings, under which figures show it.
    """

    job: str
    dataset: str
    loss: str
    noise: float
    noise_model: str
    model: str
    seed: int
    protocol: str = CORRECTED

    def __str__(self) -> str:
        return f"{self.dataset} {self.loss} noise={self.noise:g} seed={self.seed}"


def full_name(name: CellName, differs: Mapping[str, str] | None) -> str:
    """`digits ramp noise=0.3 seed=0 job.learning_rate=0.01`: a cell, and what else differs.

    differs: the cell's settings that differ within its sweep.
    """
    return " ".join([str(name), *_others(differs or {})])


def short_name(name: CellName, differs: Mapping[str, str] | None) -> str:
    """`ramp noise=0.3 job.learning_rate=0.01`: only what differs; a single cell's full name."""
    if not differs:
        return str(name)
    own = {
        "dataset": name.dataset,
        "loss": name.loss,
        "noise": f"noise={name.noise:g}",
        "seed": f"seed={name.seed}",
    }
    return " ".join([own[key] for key in _IN_NAME if key in differs] + _others(differs))


def _others(differs: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in differs.items() if key not in _IN_NAME]
