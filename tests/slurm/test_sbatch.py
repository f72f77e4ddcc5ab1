"""What is submitted: the script that SLURM gets, the pickles, and settings that are refused."""

import pickletools
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.cells import Planned, prepare
from experiments.slurm.sbatch import SlurmSettings, submit
from experiments.slurm.submissions import submissions
from experiments.slurm.submitted_cells import rebuilt
from sympo.types import BadInput
from tests.conftest import ROOT
from tests.helpers.configs import composed
from tests.slurm.fake_slurm import FakeSlurm

pytest.importorskip("submitit")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Planned]:
    config, choices = composed("wandb.mode=disabled")
    config.results_dir = str(tmp_path_factory.mktemp("cells"))
    found = []
    for seed in range(3):
        config.seed = seed
        found.append(Planned(prepare(deepcopy(config), choices), dict(choices)))
    return found


def submitted(results: Path, cells: list[Planned], **settings: Any) -> str:
    submission = submit(results, [cells[:2], cells[2:]], SlurmSettings.of(settings))
    return next(submission.folder.glob("*_submission.sh")).read_text()


def test_settings_become_options_of_sbatch(
    slurm: FakeSlurm, tmp_path: Path, cells: list[Planned]
) -> None:
    script = submitted(
        tmp_path, cells, partition="gpu", account="lab", gpus_per_node=1, cpus_per_task=8,
        mem_gb=1.5, timeout_min=30, signal_delay_s=60, array_parallelism=5,
        setup=["module load cuda"], additional_parameters={"qos": "long"},
    )  # fmt: skip
    for line in ("partition=gpu", "account=lab", "gpus-per-node=1", "cpus-per-task=8", "qos=long",
                 "mem=1536M", "time=30", "signal=USR2@60", "array=0-1%2", "requeue"):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    assert re.search(r"^srun .* --cpus-per-task=8 ", script, re.MULTILINE)
    assert "module load cuda\nexport OMP_NUM_THREADS=8\n" in script
    assert f'export PYTHONPATH="{ROOT}' in script


def test_without_requeue_slurm_queues_nothing_again(
    slurm: FakeSlurm, tmp_path: Path, cells: list[Planned]
) -> None:
    assert "#SBATCH --no-requeue\n" in submitted(tmp_path, cells, requeue=0)


def test_pickles_hold_a_folder_and_two_numbers(
    slurm: FakeSlurm, tmp_path: Path, cells: list[Planned]
) -> None:
    submitted(tmp_path, cells)
    files = sorted(tmp_path.glob("slurm_jobs/*/*.pkl"))
    assert [file.name for file in files] == ["12_0_submitted.pkl", "12_1_submitted.pkl"]
    for file in files:
        content = file.read_bytes()
        assert len(content) < 1000
        strings = [value for _, value, _ in pickletools.genops(content) if isinstance(value, str)]
        modules = {text for text in strings if text.count(".") and "/" not in text}
        assert modules == {"submitit.core.utils", "experiments.slurm.array_task"}
    assert files[0].parent.stat().st_mode & 0o077 == 0  # nobody else may write what is unpickled


def test_cells_are_rebuilt_from_what_was_submitted(
    slurm: FakeSlurm, tmp_path: Path, cells: list[Planned]
) -> None:
    submitted(tmp_path, cells)
    (submission,) = submissions(tmp_path)
    tasks = submission.tasks()
    assert [task.id for task in tasks] == ["12_0", "12_1"]
    found = [rebuilt(one) for task in tasks for one in task.cells]
    assert [cell.folder.path for cell in found] == [one.cell.folder.path for one in cells]


def test_a_refused_array_is_bad_input_with_slurms_message(
    slurm: FakeSlurm, tmp_path: Path, cells: list[Planned]
) -> None:
    slurm.answers("sbatch", "sbatch: error: invalid partition specified: gpus", code=1)
    with pytest.raises(BadInput, match=r"hydra\.launcher.*invalid partition specified: gpus"):
        submitted(tmp_path, cells, partition="gpus")
    assert list((tmp_path / "slurm_jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("timeout_min", 0, "a whole number of at least 1"),
        ("cpus_per_task", "many", "a whole number of at least 1"),
        ("gpus_per_node", 0.5, "a whole number of at least 0"),
        ("requeue", True, "a whole number of at least 0"),
        ("mem_gb", -1, "a number above 0"),
        ("signal_delay_s", 14400, "below the time limit, timeout_min=240"),
        ("setup", "module load cuda", "a list of shell commands"),
        ("additional_parameters", ["qos"], "options of sbatch by name"),
    ],
)
def test_impossible_settings_are_refused(key: str, value: object, rule: str) -> None:
    with pytest.raises(BadInput, match=rf"hydra\.launcher\.{key}=.* is not allowed.*{rule}"):
        SlurmSettings.of({key: value})


def test_keys_are_refused_because_the_script_would_keep_them() -> None:
    with pytest.raises(BadInput) as error:
        SlurmSettings.of({"setup": ["export OPENAI_API_KEY=sk-0123456789abcdefABCDEF"]})
    assert str(error.value).startswith(
        "hydra.launcher.setup[0] holds what looks like an API key, which the submitted script"
    )


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(BadInput, match=r"hydra\.launcher\.qos is not a setting"):
        SlurmSettings.of({"qos": "long"})


def test_the_config_has_the_defaults_of_the_settings() -> None:
    composed("hydra/launcher=submitit_slurm")
    file = ROOT / "conf" / "hydra" / "launcher" / "submitit_slurm.yaml"
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    assert values.pop("_target_") == "hydra_plugins.sympo_slurm_launcher.SlurmLauncher"
    assert values == {**vars(SlurmSettings()), "setup": [], "additional_parameters": {}}
