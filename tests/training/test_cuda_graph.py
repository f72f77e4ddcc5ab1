"""A recorded training step repeats its operators on the same memory, and no Python; on CPU a tape
of operators takes the place of a CUDA graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sympo.losses import DrDPO, Hinge, Logistic, Ramp
from sympo.models.images.cnn import CNN, StackedCNN
from sympo.training.cuda_graph import Replayed
from sympo.training.stacked_cells import CellTrainer, Schedule
from tests.training.made_images import DATA
from tests.training.test_stacked_cells import cell

# 2,000 pairs: batches of 432 leave 272 for the last one
SCHEDULE = Schedule(epochs=3, batch_size=432, learning_rate=1e-3, evaluate_every=3)
GRID = [(0, Ramp(), 0.4), (0, Logistic(), 0.4), (1, DrDPO(), 0.2)]


class Tape(TorchDispatchMode):
    """What a CUDA graph holds: operators and the memory they read and write, no Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        out = function(*arguments, **(named or {}))
        self.calls.append((function, arguments, named or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for function, arguments, named, out in self.calls:
            memory = {one.untyped_storage().data_ptr() for one in tensors((arguments, named))}
            found = function(*arguments, **named)
            for new, old in zip(tensors(found), tensors(out), strict=True):
                if old.untyped_storage().data_ptr() not in memory:
                    old.copy_(new)


def tensors(of: Any) -> list[Tensor]:
    return [one for one in tree_leaves(of) if isinstance(one, Tensor)]


class Tracer:
    """Records as a GPU does: nothing is computed while recording."""

    def __init__(self, trainer: CellTrainer) -> None:
        self.trainer, self.recorded = trainer, 0

    def __call__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor]
    ) -> tuple[Tape, Tensor]:
        optimizer = self.trainer.optimizer
        state = [
            *self.trainer.model.parameters(), *self.trainer.model.buffers(),
            *optimizer.mean, *optimizer.square,
        ]  # fmt: skip
        kept = [one.detach().clone() for one in state]
        with Tape() as tape:
            output = function(*inputs)
        with torch.no_grad():
            for one, before in zip(state, kept, strict=True):
                one.copy_(before)
        self.recorded += 1
        return tape, output


@pytest.fixture(autouse=True)
def traceable(monkeypatch: pytest.MonkeyPatch) -> None:
    # the compiled convolutions are no operators of torch; a GPU has none
    monkeypatch.setattr(StackedCNN, "compiled", lambda *_: None)
    torch.set_num_threads(1)


def made(grid: Sequence[tuple], dropout: float = 0.2) -> CellTrainer:
    cells = [cell(DATA[seed], seed, loss, noise) for seed, loss, noise in grid]
    return CellTrainer(cells, DATA, CNN(kernel_size=3, padding=1, dropout=dropout), SCHEDULE)


@pytest.mark.parametrize("dropout", [0.2, 0.0])
def test_a_recorded_step_is_the_step_bit_by_bit(dropout: float) -> None:
    plain, replayed = made(GRID, dropout), made(GRID, dropout)
    tracer = Tracer(replayed)
    replayed._update = Replayed(replayed._updated, pytest.fail, tracer)
    for _ in range(SCHEDULE.epochs):
        np.testing.assert_array_equal(plain.train_epoch(), replayed.train_epoch())
    assert tracer.recorded == 2  # batches of 432 pairs, and the last ones
    for one, other in zip(plain.state(), replayed.state(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert [one.metrics for one in plain.evaluate()] == [one.metrics for one in replayed.evaluate()]


def test_a_loss_that_waits_for_its_numbers_is_not_recorded() -> None:
    class Waits(Hinge):
        def __call__(self, z: Tensor) -> Tensor:
            return super().__call__(z) if z.mean().item() < 1e9 else z

    plain, replayed = made([(0, Hinge(), 0.2)]), made([(0, Waits(), 0.2)])
    notes: list[str] = []
    replayed._update = Replayed(replayed._updated, notes.append, Tracer(replayed))
    for _ in range(2):
        np.testing.assert_array_equal(plain.train_epoch(), replayed.train_epoch())
    (note,) = notes
    assert note.startswith("steps are not recorded as a CUDA graph") and "\n" not in note
