"""z is one formula for stacked cells, pairs of texts and TRL; a misshapen loss is named."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sympo.losses import DrDPO, Logistic, Ramp
from sympo.margins import DPO, Reward, SimPO
from sympo.objective import Objective
from sympo.training.stacked_objective import StackedObjective

FIRST, SECOND = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[0.5, 1.0], [2.5, -3.0]])
LABEL = torch.tensor([[1.0, -1.0], [1.0, 1.0]])


def test_z_is_the_signed_difference_less_the_target() -> None:
    gap = FIRST - SECOND
    assert torch.equal(Objective(Reward(), Ramp()).z(FIRST, SECOND, LABEL), LABEL * gap)
    assert torch.equal(Objective(Reward(), Ramp()).z(FIRST, SECOND), gap)
    z = Objective(SimPO(gamma=0.25), Ramp()).z(FIRST, SECOND, LABEL)
    assert torch.equal(z, LABEL * gap - 0.25)


def test_rewards_are_clipped_before_the_difference() -> None:
    z = Objective(DPO(clip=1.0), Ramp()).z(FIRST, SECOND, LABEL)
    expected = LABEL * (FIRST.clamp(-1, 1) - SECOND.clamp(-1, 1))
    assert torch.equal(z, expected)


def test_z_of_scores_is_z_of_rewards() -> None:
    scores, reference = torch.randn(5, 2), torch.randn(5, 2)
    lengths, label = torch.full((5, 2), 3.0), torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    objective = Objective(DPO(0.3), Ramp())
    rewards = 0.3 * (scores - reference)
    expected = objective.z(rewards[:, 0], rewards[:, 1], label)
    assert torch.equal(objective.z_of_scores(scores, reference, lengths, label), expected)


@pytest.mark.parametrize("shared", [False, True])
def test_stacked_cells_are_single_cells_side_by_side(shared: bool) -> None:
    losses = [Ramp(), DrDPO(0.5), Ramp()]
    first, second, label = torch.randn(3, 4), torch.randn(3, 4), torch.ones(3, 4)
    stacked = StackedObjective(Reward(), losses, torch.device("cpu"), shared)
    total, sums = stacked(first, second, label)
    objectives = [Objective(Reward(), loss) for loss in losses]
    each = [one.losses(one.z(*row)) for one, row in zip(objectives, zip(first, second, label))]  # noqa: B905
    torch.testing.assert_close(sums, torch.stack([values.sum() for values in each]))
    reduced = [one.reduced(values) for one, values in zip(objectives, each, strict=True)]
    torch.testing.assert_close(total, torch.stack(reduced).sum())


class Mean(Logistic):
    def __call__(self, z: Tensor) -> Tensor:
        return super().__call__(z).mean()


class Number(Logistic):
    def __call__(self, z: Tensor) -> Any:
        return 0.0


class OfAll(Logistic):
    def reduce(self, losses: Tensor) -> Tensor:
        return losses.mean()


class OneWeight(Logistic):
    def log_weight(self, losses: Tensor) -> Tensor:
        return losses.sum()


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Mean(), r"Mean\(\) must return a loss for each margin, shape \(2, 2\); it returned \(\)"),
        (Number(), r"Number\(\) must return a loss for each margin.* returned float"),
        (OfAll(), r"OfAll\(\) must reduce the last dimension.*\(2,\); it returned \(\)"),
        (OneWeight(), r"OneWeight\(\) must return a log-weight for each loss"),
    ],
)
def test_a_loss_of_the_wrong_shape_is_named(loss: Logistic, sentence: str) -> None:
    objective = Objective(Reward(), loss)
    with pytest.raises(ValueError, match=sentence):
        losses = objective.losses(objective.z(FIRST, SECOND))
        objective.reduced(losses)
        objective.log_weights(losses)
