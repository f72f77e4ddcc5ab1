"""The sweep that W&B's agent starts: every command of its grid is a cell."""

import itertools
from pathlib import Path

import pytest
import yaml

from experiments.cells import prepare
from experiments.quoting import quoted
from sympo.pipelines.progress import Silent
from sympo.pipelines.runner import run_cells
from tests.conftest import ROOT
from tests.helpers.configs import composed
from tests.helpers.wandb_records import run_of, sent, summary_of


def test_every_command_of_the_agent_composes_to_a_cell() -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "conf" / "wandb_sweep.yaml").read_text())
    assert (ROOT / sweep["program"]).is_file() and sweep["project"] == "sympo"
    values = {
        name: given.get("values", [given.get("value")])
        for name, given in sweep["parameters"].items()
    }
    grid = [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]
    assert len(grid) == 27
    folders = set()
    for chosen in grid[:: len(grid) // 4]:
        arguments = create_sweep_command_args(
            {"args": {k: {"value": v} for k, v in chosen.items()}}
        )
        command = create_sweep_command(list(sweep["command"]))
        assert command[-1] == "${args_no_hyphens}" and "-m" not in command
        overrides = [quoted(one) for one in arguments["args_no_hyphens"]]
        cell = prepare(*composed(*overrides))
        assert cell.name.loss == chosen["loss"] and cell.config["job"]["epochs"] == 30
        folders.add(cell.folder.path)
    assert len(folders) == len(grid[:: len(grid) // 4])
    # what it maximises is a metric of the summary
    assert sweep["metric"]["name"] == "selected/validation/noisy_accuracy"


def test_a_complete_cell_is_mirrored_under_the_id_of_the_agents_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["dataset.train_pairs=64", "dataset.validation_pairs=64", "dataset.test_pairs=64"]
    for mode in ("disabled", "offline"):
        overrides = [*few, "job.epochs=1", f"results_dir={tmp_path}", f"wandb.mode={mode}"]
        cell = prepare(*composed(*overrides))
        (result,) = run_cells([cell], screen=Silent())
        monkeypatch.setenv("WANDB_SWEEP_ID", "sweep7")
        monkeypatch.setenv("WANDB_RUN_ID", "run42")
    assert result.status == "skipped"
    found = sent(cell.folder.path)
    assert run_of(found).run_id == "run42"
    assert "selected/validation/noisy_accuracy" in summary_of(found)
