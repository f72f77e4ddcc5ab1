"""Every YAML under conf/ composes and builds what it names; a new one is covered on arrival."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments.cells import GROUPS, prepare
from sympo.types import BadInput

CONF = Path(__file__).parents[1] / "conf"
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
EXPERIMENTS = [path.stem for path in sorted((CONF / "experiment").glob("*.yaml"))]


def composed(*overrides: str) -> tuple[DictConfig, DictConfig]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = config.hydra.runtime.choices
    del config._content["hydra"]  # what Hydra itself hands to a job
    return config, choices


def overrides_for(group: str, option: str, mnist: Path | None) -> list[str]:
    # what an option needs from outside itself to be runnable
    needs = {
        ("dataset", "mnist"): [f"dataset.path={mnist}"],
        ("model", "cnn"): ["dataset=mnist", f"dataset.path={mnist}"],
    }
    return [f"{group}={option}", "assumed_rate=0.2", "noise=0.3", *needs.get((group, option), [])]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_builds(
    group: str, option: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    real = (group, option) in {("dataset", "mnist"), ("model", "cnn")}
    mnist = request.getfixturevalue("mnist_folder") if real else None
    config, choices = composed(*overrides_for(group, option, mnist), f"results_dir={tmp_path}")
    cell = prepare(config, choices)
    assert getattr(cell.name, group) == option
    assert cell.folder.path.parts[-5:-2] == (cell.name.job, cell.name.dataset, cell.name.loss)
    assert not list(tmp_path.iterdir()), "checking a cell must leave nothing behind"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_preset_composes(name: str) -> None:
    config, _ = composed(f"experiment={name}")
    assert config.job._target_


def test_command_line_wins_over_preset() -> None:
    config, _ = composed("experiment=mnist_accuracy_vs_noise", "job.epochs=7", "model=small_cnn")
    assert config.job.epochs == 7
    assert config.model.kernel_size == 3


def test_data_set_brings_its_model() -> None:
    assert composed("dataset=mnist")[0].model.kernel_size == 5
    assert composed()[0].model.kernel_size == 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["noise=0.7"], ["noise=0.7", "[0, 0.5)"]),
        (["noise=0.5"], ["noise=0.5", "[0, 0.5)"]),
        (["noise=-0.1"], ["noise=-0.1", "[0, 0.5)"]),
        (["noise=abc"], ["noise='abc'", "float"]),
        (["noise=null"], ["noise=None", "float"]),
        (["~noise"], ["noise is missing"]),
        (["assumed_rate=0.7"], ["assumed_rate=0.7", "[0, 0.5)"]),
        (["wandb=null"], ["wandb=None"]),
        (["+wandb.foo=1"], ["wandb.foo=1", "no such key"]),
        (["progress.cell=x"], ["progress.cell='x'", "int"]),
        (["results_dir=/dev/null/x"], ["results_dir=/dev/null/x", "no folder"]),
        (["results_dir=3"], ["results_dir=3", "str"]),
        (["report_dir=null"], ["report_dir=None", "str"]),
        (["device=[cpu]"], ["device=['cpu']", "str"]),
        (["threads=true"], ["threads=True", "int"]),
        (["loss._target_=3"], ["loss._target_=3"]),
        (["seed=-1"], ["seed=-1"]),
        (["seed=1.5"], ["seed=1.5", "int"]),
        (["seed=true"], ["seed=True", "int"]),
        (["+foo=1"], ["foo=1", "no such key"]),
        (["+dataset.foo=1"], ["dataset.foo=1", "no such key"]),
        (["+loss.slope=1"], ["loss", "slope"]),
        (["loss=cdpo"], ["assumed_rate"]),
        (["loss=rdpo", "assumed_rate=0.5"], ["assumed_rate=0.5", "[0, 0.5)"]),
        (["loss=ropo", "loss.alpha=-1"], ["alpha=-1"]),
        (["noise_model=asymmetric", "noise_model.k=2"], ["k=2"]),
        (["device=tpu"], ["device=tpu", "auto"]),
        (["device=cuda:99"], ["device=cuda:99"]),
        (["wandb.mode=sometimes"], ["wandb.mode=sometimes", "offline"]),
        (["threads=0"], ["threads=0"]),
        (["force=maybe"], ["force='maybe'", "bool"]),
        (["job.epochs=0"], ["job.epochs=0"]),
        (["job.epochs=ten"], ["job.epochs='ten'", "int"]),
        (["job.learning_rate=0"], ["job.learning_rate=0"]),
        (["model.dropout=1"], ["model.dropout=1"]),
        (["model.kernel_size=4"], ["model.kernel_size=4"]),
        (["model=cnn"], ["8x8", "kernel_size=5"]),
        (["dataset.pairing=both"], ["dataset.pairing='both'", "disjoint"]),
        (["dataset.train_pairs=2000000"], ["dataset.train_pairs=2000000", "1300"]),
        (["dataset.pairing=disjoint"], ["dataset.train_pairs=2000", "sampled"]),
        (["dataset.train_images=1700"], ["dataset.train_images=1700", "1797"]),
        (["dataset.temperature=0"], ["dataset.temperature=0"]),
        (["dataset=mnist", "dataset.path=/nowhere"], ["/nowhere/MNIST/raw", "dataset=digits"]),
    ],
)
def test_bad_setting_is_one_sentence(overrides: list[str], words: list[str]) -> None:
    config, choices = composed(*overrides)
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text
