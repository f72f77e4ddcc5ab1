"""Run one cell, or a sweep with -m: `python run.py -m loss=ramp,logistic noise=0.1,0.4`.

Exit codes: 0, all cells are complete; 1, some cells failed and the others ran; 2, bad settings or
data, and nothing started. If stopped: 130 by Ctrl-C, 143 by SIGTERM, 141 by a closed output.
"""

import os
import sys
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments import list_options
from experiments.ending import ended
from experiments.errors import one_sentence, raised_by_hydra
from experiments.list_help import show_help
from experiments.quoting import quoted
from experiments.report import outcomes
from experiments.settings import refuse_classes
from sympo.distributed import launch, processes
from sympo.types import BadInput

FULL_ERROR = bool(os.environ.get("HYDRA_FULL_ERROR"))  # asked for by the user
bad_input: list[Exception] = []
# what Hydra raises on settings that it cannot use; BadInput is a ValueError
UNREADABLE = (AssertionError, OSError, TypeError, ValueError)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def cell(config: DictConfig) -> Any:
    from experiments.cells import run_cell
    from experiments.dry_run import show_one
    from experiments.single_cell import show_cell

    choices = HydraConfig.get().runtime.choices
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_cell(config, choices, wait=False)
    try:
        if swept := HydraConfig.get().sweeper.params:
            raise BadInput(
                f"experiment={choices['experiment']} sweeps {', '.join(map(str, swept))}; add -m"
            )
        if start := getattr(get_class(config.job._target_), "start", None):
            launch.refuse(config.distributed, choices["job"])
            start(config, choices, HydraConfig.get().overrides.task)
        elif config.dry_run:
            show_one(config, choices)
        else:
            outcomes.append(run_cell(config, choices, wait=True))
            if processes.first():
                show_cell(outcomes[-1], config)
    except (BadInput, OmegaConfBaseException) as error:
        # raised later: here Hydra would print its own lines
        bad_input.append(error)
    return None


def with_swept_groups(arguments: list[str]) -> list[str]:
    """Make settings of a swept group apply to each of its options. Hydra would look for them in the
    default option, which may not have them."""
    keys = [argument.partition("=") for argument in arguments]
    swept = {key for key, _, value in keys if "," in value and "." not in key}
    return [
        f"++{argument}" if "." in key and key.split(".")[0] in swept else argument
        for argument, (key, _, _) in zip(arguments, keys, strict=True)
    ]


def main() -> int:
    if list_options.asked_for(sys.argv[1:]):
        return list_options.main(sys.argv[1:])
    sys.argv[1:] = with_swept_groups([quoted(argument) for argument in sys.argv[1:]])
    if {argument.split("=")[0] for argument in sys.argv} & {"--cfg", "-c"}:
        sys.argv.append("--resolve")
    try:
        if {"--help", "-h"} & set(sys.argv):
            show_help()
            return 0
        refuse_classes(sys.argv[1:])
        cell()
        for error in bad_input:
            raise error
    except (HydraException, OmegaConfBaseException, *UNREADABLE) as error:
        ours = (BadInput, HydraException, OmegaConfBaseException)
        if FULL_ERROR or not (isinstance(error, ours) or raised_by_hydra(error)):
            raise
        if launch.reports():
            print(f"error: {one_sentence(error)}", file=sys.stderr)
        return 2
    return 0 if all(outcome.status in ("complete", "skipped") for outcome in outcomes) else 1


if __name__ == "__main__":
    # otherwise Hydra prints errors itself and exits with 1
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code = ended(main)
    launch.leave(code)
    sys.exit(code)
