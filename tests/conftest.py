"""What several tests share."""

import os
import sys
from pathlib import Path

import pytest

# tensors here are small, and threads that wait for each other on a busy machine are slow;
# set before the libraries read it
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

ROOT = Path(__file__).parents[1]
# tests run on the checkout, whatever is installed
sys.path.insert(0, str(ROOT))
# real data in public layouts, beside a checkout of this project where there is any
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Gives a test the same numbers from torch whatever ran before it in the same process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    if not (DATA / "MNIST" / "raw").is_dir():
        pytest.skip("real MNIST is not beside this checkout (../shared/data/MNIST/raw)")
    return DATA
