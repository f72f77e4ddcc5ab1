"""The commands of docs/clusters.md: those of run.py compose, the others are a cluster's."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from experiments.slurm.sbatch import SlurmSettings
from tests.conftest import ROOT
from tests.helpers.configs import CONF

PAGE = (ROOT / "docs" / "clusters.md").read_text()
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
]
OF_RUN = [words[2:] for words in COMMANDS if words[:2] == ["python", "run.py"]]
# of a cluster's login node, which have no settings of ours
OTHERS = {"git", "python3", "source", "sinfo", "srun", "squeue", "tail"}


@pytest.mark.parametrize("words", OF_RUN, ids=" ".join)
def test_commands_compose(words: list[str]) -> None:
    first = [re.sub(r",.*", "", word) for word in words if word != "-m"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", first, return_hydra_config=True)
    launcher = dict(config.hydra.launcher)
    if launcher.pop("_target_").endswith("SlurmLauncher"):
        SlurmSettings.of(launcher)


def test_the_other_commands_are_a_clusters() -> None:
    names = {words[0] for words in COMMANDS if words[:2] != ["python", "run.py"]}
    assert names - OTHERS == {"python"}
    assert ["python", "-m", "sympo.analysis", "results/runs"] in COMMANDS
    assert "python -m tests.slurm.nine_cells results/slurm" in PAGE


def test_settings_printed_are_those_of_the_launcher() -> None:
    table = PAGE.partition("| setting |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row)[:2]]
    printed = set(named) & set(vars(SlurmSettings()))
    assert printed == set(vars(SlurmSettings()))
    for key, value in vars(SlurmSettings()).items():
        if isinstance(value, int):
            assert re.search(rf"\| `{key}` \| {value} \|", table), key
