"""Tests that need a GPU; skipped without one."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sympo.losses import Hinge, Logistic, Ramp
from sympo.models.images.cnn import CNN
from sympo.noise import Symmetric, flip
from sympo.training.adam import EPSILON
from sympo.training.cuda_graph import Replayed
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from tests.helpers.commands import cells, run
from tests.training.made_images import DATA

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GRID = [(0, Ramp(), 0.4), (0, Logistic(), 0.2), (1, Hinge(), 0.3)]
# masks are drawn on the device, so that only without dropout a GPU repeats a CPU
QUIET = CNN(kernel_size=3, padding=1, dropout=0.0)


EPOCHS, BATCH, RATE = 1, 128, 1e-3
# Devices and shapes of products differ in the order of their sums. In float64 a sum of n terms is
# off by at most n u times the sum of their magnitudes, u = 2^-53 (Higham, Accuracy and Stability of
# Numerical Algorithms, 4.2). The longest sums are gradients of the first kernels, over 8x8 places
# of both images of a pair. Where a gradient vanishes, Adam divides that error by its epsilon, and a
# weight moves by learning rate / epsilon times as much in each step; with the magnitudes and the
# change of a reward for a weight taken as 1, rewards move by this. (In float32 such a bound is
# above 1: a rounding can change the winner of a pool or the sign before a ReLU, and by Adam's steps
# a reward then jumps by 2e-3 or more.)
STEPS = EPOCHS * -(-len(DATA[0].train.first) // BATCH)
TERMS = 2 * BATCH * 8 * 8
ROUNDING = STEPS * RATE / EPSILON * TERMS * 2.0**-53


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rewards(grid: list, device: str, model: CNN = QUIET) -> list[np.ndarray]:
    made = [
        RewardCell(
            seed, loss, flip(Symmetric(), noise, DATA[seed].train, seed),
            flip(Symmetric(), noise, DATA[seed].validation, seed),
        )
        for seed, loss, noise in grid
    ]  # fmt: skip
    trainer = CellTrainer(made, DATA, model, Schedule(EPOCHS, BATCH, RATE, 1), device)
    trainer.train(lambda epoch, metrics: None)
    return trainer.rewards()


@pytest.mark.usefixtures("float64")
def test_a_gpu_trains_as_a_cpu_does() -> None:
    for one, other in zip(rewards(GRID, "cpu"), rewards(GRID, "cuda"), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("float64")
def test_a_cell_in_a_batch_is_the_cell_alone() -> None:
    model = CNN(kernel_size=3, padding=1)
    together = rewards(GRID, "cuda", model)
    for settings, expected in zip(GRID, together, strict=True):
        (alone,) = rewards([settings], "cuda", model)
        np.testing.assert_allclose(alone, expected, rtol=0, atol=ROUNDING)


def trained(grid: list, note: Callable[[str], object], recorded: bool) -> CellTrainer:
    cells = [
        RewardCell(
            seed, loss, flip(Symmetric(), noise, DATA[seed].train, seed),
            flip(Symmetric(), noise, DATA[seed].validation, seed),
        )
        for seed, loss, noise in grid
    ]  # fmt: skip
    model, schedule = CNN(kernel_size=3, padding=1), Schedule(3, BATCH, RATE, 3)
    trainer = CellTrainer(cells, DATA, model, schedule, "cuda", note)
    assert isinstance(trainer._update, Replayed)
    if not recorded:
        trainer._update = trainer._updated
    trainer.train(lambda epoch, metrics: None)
    return trainer


def test_a_recorded_step_is_the_step_bit_by_bit() -> None:
    # three epochs: steps of 128 pairs are replayed from the first on, the last ones in the third
    replayed, plain = (trained(GRID, pytest.fail, recorded) for recorded in (True, False))
    for one, other in zip(replayed.rewards(), plain.rewards(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(replayed.state(), plain.state(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_loss_that_waits_for_the_gpu_is_not_recorded() -> None:
    class Waits(Hinge):
        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            return super().__call__(z) if z.mean().item() < 1e9 else z

    notes: list[str] = []
    waits = trained([(0, Waits(), 0.3)], notes.append, True)
    plain = trained([(0, Hinge(), 0.3)], pytest.fail, False)
    assert len(notes) == 1 and "CUDA graph" in notes[0]
    for one, other in zip(waits.rewards(), plain.rewards(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_sweep_on_a_gpu(tmp_path: Path) -> None:
    sweep = ["-m", "loss=ramp,logistic", "noise=0,0.4", "job.epochs=3", "device=cuda"]
    code, _, err = run(tmp_path, *sweep)
    assert code == 0, err
    found = [json.loads((path / "summary.json").read_text()) for path in cells(tmp_path).values()]
    assert len(found) == 4 and {one["trained_together"] for one in found} == {4}
    assert {one["device"] for one in found} == {torch.cuda.get_device_name()}
    assert all(one["last"]["test/order_accuracy"] > 0.6 for one in found)
