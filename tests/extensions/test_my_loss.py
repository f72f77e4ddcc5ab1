"""The loss of README and docs/extending.md: one file and one YAML, for images, texts and TRL."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sympo import losses
from sympo.losses import MarginLoss
from tests.conftest import ROOT

HERE = Path(__file__).parent


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[MarginLoss]:
    monkeypatch.syspath_prepend(str(HERE))
    from my_loss import MyLoss  # type: ignore[import-not-found]

    return MyLoss  # type: ignore[no-any-return]


def run(tmp_path: Path, *overrides: str) -> str:
    done = subprocess.run(
        [
            sys.executable, "run.py", "--config-dir", str(HERE / "conf"),
            "allow_external_targets=true", "loss=my_loss",
            f"results_dir={tmp_path / 'results'}", "wandb.mode=disabled", *overrides,
        ],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = (tmp_path / "results").rglob("summary.json")
    assert "my_loss" in summary.parts
    return done.stdout


def test_it_trains_a_reward_model_of_images(tmp_path: Path) -> None:
    assert "my_loss" in run(tmp_path, "job.epochs=1", "dataset.train_pairs=200", "noise=0.3")


def test_it_trains_a_policy(tmp_path: Path) -> None:
    run(
        tmp_path, "job=policy", "dataset=gold_language", "dataset.train_pairs=64",
        "dataset.validation_pairs=32", "dataset.test_pairs=32", "job.sampling.prompts=8",
        "job.epochs=1", "job.batch_size=32", "model.hidden_size=16", "model.heads=2",
    )  # fmt: skip


def test_it_trains_in_trl(own: type[MarginLoss], tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is in the test extra")
    from sympo.integrations.trl import SymPOTrainer
    from tests.integrations import tiny

    def value(loss: Any) -> torch.Tensor:
        trainer: Any = tiny.trainer(SymPOTrainer, tiny.settings(tmp_path), loss=loss)
        assert type(trainer.loss) is own
        return tiny.value_and_gradients(trainer)[0]

    assert value("my_loss") == value(own) == value(own())


def test_it_is_found_by_its_name(own: type[MarginLoss]) -> None:
    assert isinstance(losses.by_name("my_loss"), own)
