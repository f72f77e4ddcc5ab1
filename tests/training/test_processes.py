"""Two real processes take the steps that one takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sympo.losses import DrDPO, Logistic, MarginLoss
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
    alone = trainer(make_rows(), loss)
    losses = torch.tensor([alone.step(np.arange(size)) for size in (13, 24, 1)])
    for found in both:
        assert torch.allclose(found[name][0], losses, atol=1e-5)
        assert torch.allclose(found[name][1], weights(alone), atol=1e-3)
    assert torch.equal(both[0][name][1], both[1][name][1])
