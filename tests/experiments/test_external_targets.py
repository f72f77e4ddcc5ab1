"""Classes from outside the project run only if the user permits them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from experiments.cells import prepare
from experiments.external_targets import refuse_external
from experiments.run_data import dataset_of
from experiments.settings import build
from sympo.classes import is_defined, recorded_class, spec_of
from sympo.types import BadInput
from tests.conftest import ROOT

ALLOW = "allow_external_targets=true"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module that leaves a file when it runs, and a folder for options."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "foreign.py").write_text(
        "from pathlib import Path\nfrom sympo.losses import Ramp\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n\n\nclass Mine(Ramp):\n    identity = 'mine'\n"
    )
    (tmp_path / "conf").mkdir()
    yield tmp_path
    for name in ("foreign", "package"):
        sys.modules.pop(name, None)


def composed(own: Path, *overrides: str) -> tuple[Any, Any]:
    place = f"hydra.searchpath=[file://{own / 'conf'}]"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [place, *overrides], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    del config._content["hydra"]
    return config, choices


def option(own: Path, group: str, content: Any) -> None:
    (own / "conf" / group).mkdir(exist_ok=True)
    head = "# @package _global_\n" if group == "experiment" else ""
    (own / "conf" / group / "x.yaml").write_text(head + yaml.safe_dump(content))


def test_a_class_of_the_users_runs_only_with_the_switch(own: Path) -> None:
    option(own, "loss", {"_target_": "foreign.Mine"})
    with pytest.raises(BadInput) as error:
        composed(own, "loss=x")
    assert str(error.value) == (
        "loss._target_=foreign.Mine is not allowed: this class is not part of the project, and its "
        "code would run; if you trust it, add allow_external_targets=true"
    )
    assert not (own / "ran").exists()
    cell = prepare(*composed(own, "loss=x", ALLOW, f"results_dir={own}"))
    assert type(cell.loss).__name__ == "Mine" and (own / "ran").exists()


@pytest.mark.parametrize(
    "preset",
    [
        {"hydra": {"callbacks": {"x": {"_target_": "foreign.Mine"}}}},
        {"hydra": {"callbacks": {"x": {"_target_": "hydra.utils.get_class", "path": "foreign"}}}},
        {"hydra": {"callbacks": {"x": {"_target_": "sympo.classes.class_at", "path": "foreign"}}}},
        {"hydra": {"job_logging": {"handlers": {"x": {"()": "foreign.Mine"}}}}},
        {"hydra": {"hydra_logging": {"handlers": {"x": {"class": "foreign.Mine"}}}}},
        {"hydra": {"sweeper": {"_target_": "foreign.Mine"}}},
        {"job": {"_target_": "foreign.Mine"}},
        {"loss": "${oc.create:{_target_:foreign.Mine}}"},
        {"report": {"claims": [{"_target_": "foreign.Mine"}]}},
    ],
    ids=["callback", "through Hydra", "through ours", "()", "logging", "sweeper", "job", "made",
         "list"],
)  # fmt: skip
def test_nothing_of_a_preset_runs(own: Path, preset: Any) -> None:
    option(own, "experiment", preset)
    with pytest.raises(BadInput, match="is not allowed: this class is not part of the project"):
        composed(own, "experiment=x")
    option(own, "experiment", preset | {"allow_external_targets": True})
    with pytest.raises(BadInput, match=r"^allow_external_targets=True is not allowed in a preset"):
        composed(own, "experiment=x")
    assert not (own / "ran").exists()


def test_the_cells_of_a_sweep_are_checked_too(own: Path) -> None:
    option(own, "loss", {"_target_": "foreign.Mine"})
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        place = f"hydra.searchpath=[file://{own / 'conf'}]"
        master = compose("config", [place, ALLOW], return_hydra_config=True)
        assert loader.load_sweep_config(master, ["loss=x", ALLOW]).loss._target_ == "foreign.Mine"
        with pytest.raises(BadInput, match="add allow_external_targets=true"):
            loader.load_sweep_config(master, ["loss=x"])


def test_the_data_set_that_a_run_records(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs/policy/x/ramp/noise=0/seed=0-12345678"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": {"_target_": "foreign.Mine"}}))
    with pytest.raises(BadInput, match=r"dataset._target_=foreign.Mine is not allowed"):
        dataset_of(folder)
    assert not (own / "ran").exists()
    with pytest.raises(BadInput, match="is not a dataset"):  # a loss
        dataset_of(folder, external=True)
    assert (own / "ran").exists()


def test_what_a_summary_records_is_not_imported(own: Path) -> None:
    with pytest.raises(ImportError, match=r"foreign.Mine is not in use"):
        recorded_class("foreign.Mine")
    assert is_defined("foreign.Mine") and not is_defined("foreign.Gone")
    (own / "package").mkdir()
    (own / "package" / "__init__.py").write_text(f"open({str(own / 'ran')!r}, 'w')")
    (own / "package" / "inside.py").write_text("class One: ...\n")
    assert is_defined("package.inside.One") and not is_defined("package.gone.One")
    assert spec_of("package.inside") and not spec_of("nowhere.at.all")
    assert not (own / "ran").exists()
    assert recorded_class("sympo.losses.Ramp").identity == "ramp"


def test_a_function_is_not_a_part() -> None:
    settings = {"_target_": "sympo.pipelines.policy.PolicyJob", "margin": {
        "_target_": "sympo.classes.class_at", "path": "antigravity.x"}}  # fmt: skip
    with pytest.raises(BadInput, match=r"job.margin._target_=sympo.classes.class_at is not a"):
        build("job", "x", settings)


def test_every_option_of_ours_is_ours() -> None:
    for file in (ROOT / "conf").rglob("*.yaml"):
        group = file.parent.relative_to(ROOT / "conf").as_posix().replace("/", ".")
        # Hydra's own settings; those of sizes and jobs are in that folder without being its
        own = group in ("hydra.launcher", "hydra.sweeper", "hydra.help")
        refuse_external(yaml.safe_load(file.read_text()), group if own else "")
