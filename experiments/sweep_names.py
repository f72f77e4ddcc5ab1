"""What a sweep and its cells are called: by the settings that differ."""

from collections.abc import Mapping, Sequence

# where a sweep runs and what it leaves behind, which do not tell two sweeps apart
_NOT_OF_SWEEPS = (
    "hydra", "wandb", "results_dir", "report_dir", "device", "threads", "force", "dry_run",
    "paper_values", "report",
)  # fmt: skip


def group_name(arguments: Sequence[str]) -> str:
    """`loss=ramp,logistic noise=0.1,0.4 job.epochs=2`: the overrides of a sweep, whose order does
    not matter: the experiment, what is swept, the rest."""
    kept = [one for one in arguments if _key(one) not in _NOT_OF_SWEEPS]
    if not kept:
        return "defaults"
    return " ".join(sorted(kept, key=lambda one: (_rank(one), one)))


def settings_of(keys: Sequence[str], overrides: Sequence[str]) -> dict[str, str]:
    """The values of a cell's overrides, as people write them; `${noise}` becomes `noise`."""
    values = [override.partition("=")[2].strip("'\"") for override in overrides]
    return {
        key: value.replace("${", "").replace("}", "") if "${" in value else value
        for key, value in zip(keys, values, strict=True)
        if not key.startswith("hydra")
    }


def differing(cells: Sequence[Sequence[Mapping[str, str]]]) -> list[dict[str, str]]:
    """The settings of each cell that differ among the cells.

    cells: for each cell, the overrides of all combinations that give it. A setting that takes
        several values there does not matter to the cell.
    """
    own = [_common(combinations) for combinations in cells]
    keys = dict.fromkeys(key for settings in own for key in settings)
    values = {key: {settings.get(key) for settings in own} - {None} for key in keys}
    return [
        {key: value for key, value in settings.items() if len(values[key]) > 1} for settings in own
    ]


def _common(combinations: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        key: value
        for key, value in combinations[0].items()
        if all(other.get(key) == value for other in combinations)
    }


def _key(argument: str) -> str:
    return argument.lstrip("+~").split("=")[0].split(".")[0].split("/")[0]


def _rank(argument: str) -> int:
    if argument.startswith("experiment="):
        return 0
    return 1 if "," in argument else 2
