import math

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sympo.margins import DPO, AverageLogRatio, BaseMargin, SimPO
from sympo.types import BadInput
from tests.conftest import ROOT

LOGPS = torch.tensor([-12.0, -30.0, -4.0], dtype=torch.float64)
REFERENCE = torch.tensor([-10.0, -40.0, -4.0], dtype=torch.float64)
LENGTHS = torch.tensor([4, 5, 1])

YAMLS = sorted((ROOT / "conf" / "job" / "margin").glob("*.yaml"))
ALL = {path.stem: instantiate(OmegaConf.load(path)) for path in YAMLS}
every_margin = pytest.mark.parametrize("margin", ALL.values(), ids=ALL.keys())


@pytest.mark.parametrize(
    ("margin", "rewards"),
    [
        (DPO(beta=0.1), [-0.2, 1.0, 0.0]),
        (DPO(beta=2.0), [-4.0, 20.0, 0.0]),
        (DPO(beta=2.0, clip=10.0), [-4.0, 10.0, 0.0]),
        (DPO(beta=2.0, clip=3.0), [-3.0, 3.0, 0.0]),
        (AverageLogRatio(), [-0.5, 2.0, 0.0]),
        (AverageLogRatio(clip=0.25), [-0.25, 0.25, 0.0]),
        (SimPO(beta=2.0), [-6.0, -12.0, -8.0]),
        (SimPO(beta=1.0, clip=4.5), [-3.0, -4.5, -4.0]),
    ],
)
def test_hand_derived_rewards(margin: BaseMargin, rewards: list[float]) -> None:
    found = margin.clipped(margin.rewards(LOGPS, REFERENCE, LENGTHS))
    torch.testing.assert_close(found, torch.tensor(rewards, dtype=torch.float64))


@every_margin
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rewards_keep_dtype_and_rise_with_the_policy(
    margin: BaseMargin, dtype: torch.dtype
) -> None:
    logps = LOGPS.to(dtype).requires_grad_()
    rewards = margin.rewards(logps, REFERENCE.to(dtype), LENGTHS)
    assert rewards.dtype == dtype and rewards.shape == logps.shape
    (slope,) = torch.autograd.grad(rewards.sum(), logps)
    assert (slope > 0).all()


@every_margin
def test_rewards_are_finite_at_huge_log_probabilities(margin: BaseMargin) -> None:
    logps = torch.tensor([-1e6, -1e-6], requires_grad=True)
    rewards = margin.rewards(logps, torch.tensor([-1e-6, -1e6]), torch.tensor([1, 4096]))
    rewards.sum().backward()
    assert rewards.isfinite().all()
    assert logps.grad is not None and logps.grad.isfinite().all()


@every_margin
def test_a_margin_says_whether_it_uses_the_reference(margin: BaseMargin) -> None:
    if margin.reference_free:
        found = margin.rewards(LOGPS, None, LENGTHS)
        assert torch.equal(found, margin.rewards(LOGPS, REFERENCE, LENGTHS))
    else:
        assert not margin.rewards(LOGPS, LOGPS, LENGTHS).any()
        with pytest.raises(ValueError, match="reference"):
            margin.rewards(LOGPS, None, LENGTHS)


@every_margin
def test_a_margin_says_whether_it_is_the_log_ratio_per_token(margin: BaseMargin) -> None:
    found = margin.rewards(LOGPS, REFERENCE, LENGTHS)
    assert torch.equal(found, (LOGPS - REFERENCE) / LENGTHS) == margin.average_log_ratio


@pytest.mark.parametrize(
    "margin", [DPO(1.0, clip=5.0), AverageLogRatio(clip=1.0), SimPO(1.0, clip=5.0)]
)
def test_no_gradient_beyond_the_clip(margin: BaseMargin) -> None:
    logps = LOGPS.clone().requires_grad_()
    rewards = margin.clipped(margin.rewards(logps, REFERENCE, LENGTHS))
    (slope,) = torch.autograd.grad(rewards.sum(), logps)
    assert slope[0] > 0 and slope[1] == 0


def test_simpo_alone_has_a_target() -> None:
    """z = beta (mean log-probability of a over that of b) - gamma, as in the paper's equation 6."""
    assert {name: margin.target for name, margin in ALL.items()} == {
        "dpo": 0, "ipo": 0, "simpo": 0.5
    }  # fmt: skip
    margin = SimPO(beta=2.5, gamma=1.4)
    first, second, _ = margin.rewards(LOGPS, None, LENGTHS)
    z = first - second - margin.target
    assert z.item() == pytest.approx(2.5 / 4 * -12 - 2.5 / 5 * -30 - 1.4)


@pytest.mark.parametrize("margin", [DPO, SimPO])
@pytest.mark.parametrize("beta", [0, -0.1, math.inf, math.nan, None, "high"])
def test_bad_beta(margin: type[DPO], beta: float) -> None:
    with pytest.raises(BadInput, match=r"^beta=.* is not allowed"):
        margin(beta=beta)


@pytest.mark.parametrize("margin", [DPO, AverageLogRatio, SimPO])
@pytest.mark.parametrize("clip", [0, -10, math.inf, math.nan, "10"])
def test_bad_clip(margin: type[DPO], clip: float) -> None:
    with pytest.raises(BadInput, match=r"^clip=.* is not allowed"):
        margin(clip=clip)


@pytest.mark.parametrize("gamma", [-0.1, math.inf, math.nan, None])
def test_bad_gamma(gamma: float) -> None:
    with pytest.raises(BadInput, match=r"^gamma=.* is not allowed"):
        SimPO(gamma=gamma)
