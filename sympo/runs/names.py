"""How runs of a sweep are called: by their settings that differ."""

from collections.abc import Mapping

from sympo.runs.folder import CellName

# settings that a cell's name shows in any case
_IN_NAME = ("dataset", "loss", "noise", "seed")


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
