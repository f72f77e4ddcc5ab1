"""Two real processes take the steps that one takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sympo.losses import DrDPO, Logistic, MarginLoss
from sympo.training.pairwise import PreferenceTrainer
from tests.training.made_pairs import make_rows, trainer, weights


@pytest.fixture(scope="module")
def both(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("processes")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "-m", "tests.training.processes_worker", str(out)],
        cwd=root, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "loss"), [("logistic", Logistic()), ("dr_dpo", DrDPO(temperature=0.05))]
)
def test_two_processes_are_one(both: list[dict], name: str, loss: MarginLoss) -> None:
    _same(both, name, trainer(make_rows(), loss))


def test_two_processes_with_working_copies(both: list[dict]) -> None:
    alone = trainer(make_rows(), Logistic(), precision="bfloat16")
    _same(both, "bfloat16", alone, of_losses=1e-2, of_weights=3e-2)


def _same(
    both: list[dict],
    name: str,
    alone: PreferenceTrainer,
    of_losses: float = 1e-5,
    of_weights: float = 1e-3,
) -> None:
    losses = torch.tensor([alone.step(np.arange(size)) for size in (13, 24, 1)])
    for found in both:
        assert torch.allclose(found[name][0], losses, atol=of_losses)
        assert torch.allclose(found[name][1], weights(alone), atol=of_weights)
    assert torch.equal(both[0][name][1], both[1][name][1])
