"""Policies that are trained together are those trained alone, and do not affect each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sympo.losses import DrDPO, Logistic, MarginLoss, Ramp, Sigmoid
from sympo.margins import DPO, BaseMargin, SimPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.objective import Objective
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.training.stacked_policies import StackedPreferenceTrainer, score
from tests.training.made_pairs import PAIRS, TINY, VOCABULARY, make_rows

RECIPE = {"epochs": 2, "batch_size": 10, "learning_rate": 1e-2, "warmup_steps": 2}
MARGIN = DPO(beta=0.5)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows() -> PackedRows:
    return make_rows()


def labels(cell: int) -> np.ndarray:
    return np.where(np.arange(PAIRS) % (cell + 2) == 0, -1.0, 1.0)


def reference(rows: PackedRows) -> np.ndarray:
    return Policy(TINY.build(VOCABULARY, 0)).score(rows, 10_000)


def together(
    rows: PackedRows,
    losses: Sequence[MarginLoss],
    cells: Sequence[int] | None = None,
    margin: BaseMargin = MARGIN,
    **recipe: Any,
) -> StackedPreferenceTrainer:
    cells = range(len(losses)) if cells is None else cells
    return StackedPreferenceTrainer(
        StackedLlama.of(TINY.build(VOCABULARY, 0), len(losses)),
        RowTable(rows, CPU, torch.float32),
        rows.lengths,
        np.stack([labels(cell) for cell in cells]),
        None if margin.reference_free else reference(rows),
        margin,
        losses,
        Recipe(**{**RECIPE, **recipe}),
        seed=0,
    )


def trained(trainer: StackedPreferenceTrainer) -> tuple[list[np.ndarray], torch.Tensor]:
    losses: list[np.ndarray] = []
    trainer.train(losses.append)
    return losses, trainer.model.weights.detach().clone()


@pytest.mark.parametrize(
    ("margin", "recipe"),
    [
        (MARGIN, {"max_grad_norm": 0.5}),
        (MARGIN, {"max_grad_norm": None, "weight_decay": 0.1}),
        (SimPO(), {}),
    ],
    ids=["clipped", "decayed", "without a reference"],
)
def test_each_cell_is_trained_as_it_is_alone(
    rows: PackedRows, margin: BaseMargin, recipe: dict[str, Any]
) -> None:
    losses = [Logistic(), Ramp(), DrDPO(temperature=0.2)]
    # Adam's first steps have the learning rate's size whatever the gradient's: rounding must not
    # decide their sign
    seen, weights = trained(together(rows, losses, margin=margin, learning_rate=1e-3, **recipe))
    for cell, loss in enumerate(losses):
        model = TINY.build(VOCABULARY, 0)
        alone = PreferenceTrainer(
            Policy(model), rows, labels(cell),
            None if margin.reference_free else reference(rows), Objective(margin, loss),
            Recipe(**{**RECIPE, "learning_rate": 1e-3, **recipe}), seed=0, tokens=10_000,
        )  # fmt: skip
        own: list[float] = []
        alone.train(own.append)
        assert [float(one[cell]) for one in seen] == pytest.approx(own, abs=2e-5)
        moved = (
            StackedLlama.of(model, 1).weights[0]
            - StackedLlama.of(TINY.build(VOCABULARY, 0), 1).weights[0]
        )
        difference = weights[cell] - StackedLlama.of(model, 1).weights[0]
        assert float(difference.norm() / moved.norm()) < 2e-3


def test_a_margin_gets_tensors_of_one_shape(rows: PackedRows) -> None:
    class Strict(DPO):
        def rewards(
            self, logps: torch.Tensor, reference: torch.Tensor | None, lengths: torch.Tensor
        ) -> torch.Tensor:
            assert reference is not None and logps.shape == reference.shape == lengths.shape
            return super().rewards(logps, reference, lengths)

    strict, usual = (
        trained(together(rows, [Logistic(), Ramp()], margin=margin))[1]
        for margin in (Strict(beta=0.5), MARGIN)
    )
    assert torch.equal(strict, usual)


def test_cells_do_not_affect_each_other(rows: PackedRows) -> None:
    losses = [Logistic(), Sigmoid(), DrDPO(temperature=0.2)]
    seen, weights = trained(together(rows, losses))
    for cell, loss in enumerate(losses):
        alone, own = trained(together(rows, [loss], [cell]))
        assert torch.equal(own[0], weights[cell])
        assert [float(one[0]) for one in alone] == [float(one[cell]) for one in seen]


def test_a_state_resumes_in_another_batch(rows: PackedRows) -> None:
    losses = [Logistic(), Ramp()]
    whole = together(rows, losses)
    states: list[dict[str, Any]] = []

    def on_step(_: np.ndarray) -> None:
        if whole.done == 3:
            states.extend(whole.state())

    whole.train(on_step)
    again = together(rows, losses[1:], [1])
    again.restore(states[1:])
    assert again.done == 3
    assert torch.equal(trained(again)[1][0], whole.model.weights[1])


def test_a_cell_that_diverges_does_not_stop_the_others(rows: PackedRows) -> None:
    class Broken(Logistic):
        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            return super().__call__(z) * torch.inf

    trainer = together(rows, [Broken(), Ramp()])
    seen, weights = trained(trainer)
    assert list(trainer.diverged) == [0] and isinstance(trainer.diverged[0], Diverged)
    assert "at step 1; a lower learning rate may help" in str(trainer.diverged[0])
    assert len(seen) == trainer.steps
    assert torch.equal(trained(together(rows, [Ramp()], [1]))[1][0], weights[1])
    alone = together(rows, [Broken()])
    assert not trained(alone)[0] and alone.done == 1


def test_scores_are_those_of_a_policy_and_may_be_the_first(rows: PackedRows) -> None:
    model = StackedLlama.of(TINY.build(VOCABULARY, 0), 2)
    table = RowTable(rows, CPU, torch.float32)
    found = score(model, table)
    assert found.shape == (2, PAIRS, 2)
    assert found[1] == pytest.approx(reference(rows), abs=1e-5)
    assert score(model, table, 5) == pytest.approx(found[:, :5], abs=1e-5)
