"""Configs as Hydra composes them for a job."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments.settings import GROUPS
from tests.conftest import ROOT

CONF = ROOT / "conf"
OPTIONS = [
    (group, path.stem)
    for group in (*GROUPS, "filter", "judge")
    for path in sorted((CONF / group).glob("*.yaml"))
    if (group, path.stem) not in (("job", "judge"), ("filter", "none"))  # which make no part
]
MARGINS = [path.stem for path in sorted((CONF / "job" / "margin").glob("*.yaml"))]


def composed(*overrides: str) -> tuple[DictConfig, DictConfig]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = config.hydra.runtime.choices
    del config._content["hydra"]  # what Hydra itself hands to a job
    return config, choices
