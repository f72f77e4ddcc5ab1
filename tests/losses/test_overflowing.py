import pytest
import torch

from sympo.losses import Logistic, MarginLoss, Ramp, Sigmoid
from sympo.losses.overflowing import OverflowingLogistic, OverflowingSigmoid, overflowing


def gradient(loss: MarginLoss, z: list[float]) -> torch.Tensor:
    margin = torch.tensor(z, requires_grad=True)
    loss(margin).sum().backward()
    assert margin.grad is not None
    return margin.grad


@pytest.mark.parametrize(
    ("form", "loss"), [(OverflowingLogistic(), Logistic()), (OverflowingSigmoid(), Sigmoid())]
)
def test_equal_where_nothing_overflows_and_nan_gradients_where_it_does(
    form: MarginLoss, loss: MarginLoss
) -> None:
    inside = [-40.0, -3.0, 0.0, 0.5, 10.0]
    torch.testing.assert_close(form(torch.tensor(inside)), loss(torch.tensor(inside)))
    torch.testing.assert_close(gradient(form, inside), gradient(loss, inside))
    assert gradient(form, [-88.0, 88.0]).isfinite().all()
    assert gradient(form, [-89.0, 89.0]).isnan().all()
    assert gradient(loss, [-89.0, 89.0]).isfinite().all()


def test_the_logistic_value_is_lost_above_16() -> None:
    assert OverflowingLogistic()(torch.tensor(17.0)) == 0 < Logistic()(torch.tensor(17.0))


def test_which_losses_have_another_form() -> None:
    ramp = Ramp()
    assert overflowing(ramp) is ramp
    assert isinstance(overflowing(Logistic()), OverflowingLogistic)
    assert isinstance(overflowing(Sigmoid()), OverflowingSigmoid)
