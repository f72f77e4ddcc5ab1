"""How a loss makes one number of a batch, and the weights that split this number over steps."""

import math

import pytest
import torch

from sympo.losses import DrDPO, Logistic, MarginLoss, Sigmoid
from sympo.types import BadInput
from tests.losses.every_loss import every_loss

Z = torch.tensor([-30.0, -3, -0.6, 0, 0.3, 2, 25], dtype=torch.float64)


def gradient(loss: MarginLoss, z: torch.Tensor) -> torch.Tensor:
    z = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss.reduce(loss(z)), z)
    return found


@every_loss
def test_weights_make_the_gradient_of_the_reduced_loss(loss: MarginLoss) -> None:
    z = Z.clone().requires_grad_()
    losses = loss(z)
    log_weight = loss.log_weight(losses)
    assert not log_weight.requires_grad and log_weight.shape == losses.shape
    (by_weight,) = torch.autograd.grad((log_weight.softmax(0) * losses).sum(), z)
    torch.testing.assert_close(gradient(loss, Z), by_weight)


@every_loss
def test_a_batch_may_be_split(loss: MarginLoss) -> None:
    """Adding up sum_i w_i grad l_i and sum_i w_i over parts, then dividing, is the whole batch."""
    weighted, weights = torch.zeros_like(Z), 0.0
    for part in (slice(0, 1), slice(1, 5), slice(5, 7)):
        z = Z.clone().requires_grad_()
        losses = loss(z[part])
        weight = loss.log_weight(losses).exp()
        weighted += torch.autograd.grad((weight * losses).sum(), z)[0]
        weights += weight.sum().item()
    torch.testing.assert_close(weighted / weights, gradient(loss, Z))


@every_loss
def test_equal_losses_reduce_to_their_value(loss: MarginLoss) -> None:
    losses = torch.full((5,), 0.7, dtype=torch.float64)
    torch.testing.assert_close(loss.reduce(losses), losses[0])


@every_loss
def test_batches_are_reduced_side_by_side(loss: MarginLoss) -> None:
    z = torch.stack([Z, Z.flip(0) / 3, Z - 1])
    found = loss.reduce(loss(z))
    torch.testing.assert_close(found, torch.stack([loss.reduce(loss(row)) for row in z]))


def test_hand_derived_value() -> None:
    """b = 1/2: exp(-l / b) is 1/4 and 1/16, whose mean is 5/32."""
    losses = torch.tensor([math.log(2), math.log(4)], dtype=torch.float64)
    assert DrDPO(0.5).reduce(losses).item() == pytest.approx(0.5 * math.log(32 / 5))


def test_from_the_least_loss_to_the_mean() -> None:
    losses = Logistic()(Z)
    rising = [DrDPO(b).reduce(losses).item() for b in (1e-6, 0.1, 1.0, 10.0, 1e6)]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(losses.min().item(), abs=1e-4)
    assert rising[-1] == pytest.approx(losses.mean().item(), abs=1e-4)


def test_at_temperature_1_it_falls_where_the_sigmoid_loss_falls() -> None:
    """L = -log(1 - mean of the sigmoid losses), so the two gradients differ by a factor only."""
    sigmoid = Sigmoid()(Z).mean()
    torch.testing.assert_close(DrDPO(1.0).reduce(DrDPO(1.0)(Z)), -torch.log1p(-sigmoid))
    torch.testing.assert_close(gradient(DrDPO(1.0), Z), gradient(Sigmoid(), Z) / (1 - sigmoid))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reduced_gradient_is_finite_at_huge_margins(dtype: torch.dtype) -> None:
    z = torch.tensor([-1e4, -2e4, -5e3], dtype=dtype)
    for loss in (DrDPO(1.0), DrDPO(0.01)):
        assert loss.reduce(loss(z)).isfinite() and gradient(loss, z).isfinite().all()


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, None])
def test_bad_temperature(temperature: float) -> None:
    with pytest.raises(BadInput, match=r"^temperature=.* is not allowed"):
        DrDPO(temperature)
