import math
from collections.abc import Callable

import pytest
import torch

from sympo import losses
from sympo.losses import (
    CDPO,
    EXO,
    GCE,
    IPO,
    RDPO,
    ROPO,
    DrDPO,
    Forward,
    HolderDPO,
    Logistic,
    LossProperties,
    MarginLoss,
    SlopedRamp,
    TemperedSigmoid,
)
from sympo.types import BadInput
from tests.losses.every_loss import ALL, every_loss

LN3 = math.log(3)  # sigmoid(ln 3) = 3/4


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        (Logistic(), {0: math.log(2), LN3: math.log(4 / 3), -LN3: math.log(4)}),
        (losses.Hinge(), {-1: 2, 0: 1, 0.5: 0.5, 1: 0, 3: 0}),
        (losses.Square(), {-1: 4, 0: 1, 1: 0, 3: 4}),
        (
            losses.Exponential(),
            {0: 1, LN3: 1 / 3, -LN3: 3, -20: math.exp(20), -21: 2 * math.exp(20)},
        ),
        (losses.Sigmoid(), {0: 0.5, LN3: 0.25, -LN3: 0.75}),
        (losses.Ramp(), {-2: 1, -1: 1, 0: 0.5, 0.5: 0.25, 1: 0, 2: 0}),
        (losses.Unhinged(), {-2: 3, 0: 1, 1: 0, 3: -2}),
        (losses.TruncatedHinge(), {-1: 1, 0: 1, 0.5: 0.5, 1: 0, 2: 0}),
        (losses.Savage(), {0: 0.25, LN3: 1 / 16, -LN3: 9 / 16}),
        (CDPO(0.1), {0: math.log(2), LN3: 0.9 * math.log(4 / 3) + 0.1 * math.log(4)}),
        (RDPO(0.1), {0: math.log(2), LN3: (0.9 * math.log(4 / 3) - 0.1 * math.log(4)) / 0.8}),
        (IPO(0.1), {-1: 36, 0: 25, 5: 0, 7: 4}),
        (DrDPO(0.5), {0: math.log(2), LN3: math.log(4 / 3), -LN3: math.log(4)}),
        (GCE(0.5), {0: 2 - math.sqrt(2), LN3: 2 - math.sqrt(3), -LN3: 1}),
        (HolderDPO(2.0), {0: -1 / 2, LN3: -27 / 32, -LN3: -5 / 32}),
        (HolderDPO(1.0), {0: -3 / 4, LN3: -15 / 16, -LN3: -7 / 16}),
        (Forward(0.2), {0: math.log(2), LN3: -math.log(0.65), -LN3: -math.log(0.35)}),
        (EXO(0.1), {0: math.log(5 / 3), LN3: 0.75 * math.log(5 / 6) + 0.25 * math.log(5 / 2)}),
        (SlopedRamp(4.0, -1.0), {-2: 1, -1.25: 1, -1: 0.5, -0.875: 0.25, -0.75: 0, 0: 0}),
        (TemperedSigmoid(0.5), {0: 0.5, LN3 / 2: 0.25, -LN3 / 2: 0.75}),
        (losses.Sine(), {-3 * math.pi / 2: 0, -math.pi / 2: 1, 0: 0.5, math.pi / 2: 0}),
        (ROPO(3.0), {0: 0.75 * math.log(2) + 2.25 / 2, LN3: 0.75 * math.log(4 / 3) + 2.25 / 4}),
    ],
)
def test_hand_derived_values(loss: MarginLoss, values: dict[float, float]) -> None:
    z = torch.tensor(list(values), dtype=torch.float64)
    torch.testing.assert_close(loss(z), torch.tensor(list(values.values()), dtype=torch.float64))


def test_a_loss_says_its_name() -> None:
    assert (repr(Logistic()), repr(CDPO(0.1))) == ("Logistic()", "CDPO(assumed_rate=0.1)")


def test_slope_of_exponential_is_that_of_its_continuation_at_the_joint() -> None:
    z = torch.tensor([-20.0, -25.0, -1e8], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.Exponential()(z).sum(), z)
    torch.testing.assert_close(gradient, torch.full_like(gradient, -math.exp(20)))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_finite_at_huge_margins(
    loss: MarginLoss, dtype: torch.dtype
) -> None:
    z = torch.tensor([[-1e4, -20, -1], [0, 1, 1e4]], dtype=dtype, requires_grad=True)
    value = loss(z)
    value.sum().backward()
    assert value.dtype == dtype and value.shape == z.shape
    assert value.isfinite().all()
    assert z.grad is not None and z.grad.isfinite().all()


@every_loss
def test_gradient_is_that_of_central_differences(loss: MarginLoss) -> None:
    off_kinks = [-25, -19, -5, -2, -0.6, -0.1, 0.3, 0.7, 2, 5, 19, 25]
    z = torch.tensor(off_kinks, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, z)


Z = torch.arange(-30_000, 30_001, dtype=torch.float64) / 1000
# to 0.7% and 99.3%, so that rDPO's infinite minimisers are met at an assumed rate as low as 0.05
ETA = torch.sigmoid(torch.linspace(-5, 5, 20, dtype=torch.float64))[:, None]


def measured_properties(loss: MarginLoss) -> LossProperties:
    """What numbers on a grid say about a loss, with no look at what it declares."""
    value = loss(Z)
    total = value + loss(-Z)
    symmetric = bool(total.max() - total.min() < 1e-9)

    coarse = value[::10]
    second_difference = coarse[2:] - 2 * coarse[1:-1] + coarse[:-2]
    rounding = 1e-12 * (1 + coarse[1:-1].abs())

    far = loss(torch.tensor([-1e6, 1e6], dtype=torch.float64))

    risk = ETA * value + (1 - ETA) * loss(-Z)
    wrong_signed = (2 * ETA - 1) * Z <= 0
    best = risk.min(dim=1)
    best_wrong = risk.where(wrong_signed, math.inf).min(dim=1).values
    minimiser = Z[best.indices]
    return LossProperties(
        symmetric=symmetric,
        constant=round(total[0].item(), 9) if symmetric else None,
        convex=bool((second_difference >= -rounding).all()),
        bounded=bool(far.abs().max() < 2 * value.abs().max()),
        calibrated=bool((best_wrong > best.values + 1e-6).all()),
        cpe=bool((minimiser.abs() < 29.9).all() and (minimiser.diff() > 0).all()),
    )


@every_loss
def test_declared_properties_are_the_measured_ones(loss: MarginLoss) -> None:
    assert loss.properties == measured_properties(loss)


def test_the_measurement_can_deny_calibration() -> None:
    """The perceptron's loss is least at z = 0 whatever eta is."""

    class Perceptron(Logistic):
        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            return (-z).clamp(min=0)

    assert not measured_properties(Perceptron()).calibrated


@pytest.mark.parametrize("loss", [CDPO(0), RDPO(0), Forward(0)])
def test_at_assumed_rate_0_the_loss_is_the_logistic_one(loss: MarginLoss) -> None:
    assert torch.equal(loss(Z), Logistic()(Z))


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_closed_forms_are_the_published_mixtures(rate: float) -> None:
    right, wrong = Logistic()(Z), Logistic()(-Z)
    torch.testing.assert_close(CDPO(rate)(Z), (1 - rate) * right + rate * wrong)
    torch.testing.assert_close(
        RDPO(rate)(Z), ((1 - rate) * right - rate * wrong) / (1 - 2 * rate), atol=1e-12, rtol=1e-9
    )


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_rdpo_is_unbiased_under_the_noise_that_it_assumes(rate: float) -> None:
    rdpo = RDPO(rate)
    noisy = (1 - rate) * rdpo(Z) + rate * rdpo(-Z)
    torch.testing.assert_close(noisy, Logistic()(Z), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("loss", "special", "constant"),
    [
        (SlopedRamp(), losses.Ramp(), 0),
        (SlopedRamp(2.0, 0.5), losses.TruncatedHinge(), 0),
        (TemperedSigmoid(), losses.Sigmoid(), 0),
        (GCE(1.0), losses.Sigmoid(), 0),
        (GCE(1e-7), Logistic(), 0),
        (HolderDPO(1.0), losses.Savage(), -1),
    ],
)
def test_families_meet_other_losses(loss: MarginLoss, special: MarginLoss, constant: int) -> None:
    torch.testing.assert_close(loss(Z), special(Z) + constant, atol=1e-12, rtol=2e-6)
    if loss != GCE(1e-7):  # only the limit is convex and unbounded
        assert loss.properties == special.properties


@pytest.mark.parametrize(
    ("loss", "link"),
    [
        (GCE(0.7), lambda eta: torch.logit(eta) / 0.3),
        (HolderDPO(0.5), lambda eta: torch.logit(eta) / 1.5),
        (EXO(0.3), lambda eta: (2 * eta - 1) * math.log(7 / 3)),
    ],
)
def test_conditional_minimisers_are_the_documented_ones(
    loss: MarginLoss, link: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    risk = ETA * loss(Z) + (1 - ETA) * loss(-Z)
    torch.testing.assert_close(Z[risk.argmin(1)], link(ETA[:, 0]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_forward_correction_has_the_gradient_of_re_po(rate: float) -> None:
    """E-step: the posterior w that a label is right; M-step: cross-entropy against fixed w."""
    z = Z.clone().requires_grad_()
    s = torch.sigmoid(Z)
    w = (1 - rate) * s / ((1 - rate) * s + rate * (1 - s))
    m_step = w * Logistic()(z) + (1 - w) * Logistic()(-z)
    (expected,) = torch.autograd.grad(m_step.sum(), z)
    (found,) = torch.autograd.grad(Forward(rate)(z).sum(), z)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


@every_loss
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_noise_scales_and_shifts_the_risk_of_symmetric_losses_only(
    loss: MarginLoss, rate: float
) -> None:
    noisy = (1 - rate) * loss(Z) + rate * loss(-Z)
    shift = noisy - (1 - 2 * rate) * loss(Z)
    if loss.properties.symmetric:
        assert loss.properties.constant is not None
        torch.testing.assert_close(shift, torch.full_like(Z, rate * loss.properties.constant))
    else:
        assert shift.max() - shift.min() > 1e-3


@pytest.mark.parametrize("loss", [CDPO, RDPO, Forward])
@pytest.mark.parametrize(
    ("rate", "sentence"),
    [
        (None, "assumed_rate is not set"),
        (0.5, "assumed_rate=0.5 is not allowed"),
        (-0.1, "assumed_rate=-0.1 is not allowed"),
        (math.nan, "assumed_rate=nan is not allowed"),
        ("high", "assumed_rate=high is not allowed"),
    ],
)
def test_bad_assumed_rates(loss: type[CDPO], rate: float, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        loss(rate)


@pytest.mark.parametrize("alpha", [0, -1.0, math.inf, math.nan])
def test_bad_alpha(alpha: float) -> None:
    with pytest.raises(BadInput, match=r"^alpha=.* is not allowed"):
        ROPO(alpha)


@pytest.mark.parametrize(
    ("loss", "setting", "values"),
    [
        (GCE, "q", [0, -0.5, 1.1, math.nan, None]),
        (HolderDPO, "gamma", [0, -1.0, math.inf, math.nan]),
        (EXO, "label_smoothing", [0, 0.5, -0.1, math.nan]),
        (SlopedRamp, "slope", [0, -1.0, math.inf]),
        (SlopedRamp, "offset", [math.inf, math.nan, None]),
        (TemperedSigmoid, "temperature", [0, -1.0, math.inf]),
    ],
)
def test_bad_settings_of_families(
    loss: type[MarginLoss], setting: str, values: list[float]
) -> None:
    for value in values:
        with pytest.raises(BadInput, match=rf"^{setting}=.* is not allowed"):
            loss(**{setting: value})


@pytest.mark.parametrize("beta", [0, -0.1, math.inf, math.nan, None])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(BadInput, match=r"^beta=.* is not allowed"):
        IPO(beta)


def test_ipo_alone_is_made_for_log_ratios_per_token() -> None:
    assert {type(loss) for loss in ALL.values() if loss.average_log_ratio} == {IPO}
