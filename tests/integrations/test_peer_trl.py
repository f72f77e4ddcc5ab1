"""On one model, batch and reference our losses are those of TRL's DPOTrainer, gradients included.

Ours: one row per pair with a shared prompt, a margin, a loss. TRL's: padded rows, its own formulas.
"""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sympo.losses import (
    CDPO,
    EXO,
    IPO,
    RDPO,
    ROPO,
    DrDPO,
    Hinge,
    Logistic,
    MarginLoss,
    Ramp,
    Sigmoid,
)
from sympo.margins import DPO, AverageLogRatio, BaseMargin
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.types import Encoded

os.environ.setdefault("HF_HUB_OFFLINE", "1")
trl = pytest.importorskip("trl", reason="TRL is in the test extra")

BETA = 0.5
Policies = tuple[
    Policy, Policy, PackedRows
]  # the policy, its reference and the pairs of our engine


@pytest.fixture(scope="module")
def tiny() -> Any:
    from tests.integrations import tiny

    return tiny


@pytest.fixture(scope="module")
def peer(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A DPOTrainer with its reference's log-probabilities, whose loss the tests set."""
    args = tiny.settings(tmp_path_factory.mktemp("peer"), beta=BETA)
    return tiny.trainer(trl.DPOTrainer, args)


def rows_of(peer: Any) -> PackedRows:
    """The token ids that the peer trains on."""

    def side(name: str) -> Encoded:
        ids = [
            np.array([*row["prompt_ids"], *row[f"{name}_ids"]], np.int64)
            for row in peer.train_dataset
        ]
        return Encoded(ids, np.array([len(row["prompt_ids"]) for row in peer.train_dataset]))

    return PackedRows(side("chosen"), side("rejected"))


@pytest.fixture(scope="module")
def policies(peer: Any, tiny: Any) -> Policies:
    return Policy(tiny.model(0)), Policy(tiny.model(1)), rows_of(peer)


def margins(policies: Policies, margin: BaseMargin) -> torch.Tensor:
    policy, reference, rows = policies
    every = np.arange(len(rows))
    logps, lengths = policy.logps(rows, every)
    with torch.no_grad():
        base, _ = reference.logps(rows, every)
    chosen, rejected = margin.rewards(logps, base, lengths).unbind(1)
    return chosen - rejected - margin.target


def ours(
    policies: Policies, margin: BaseMargin, loss: MarginLoss
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    value = loss.reduce(loss(margins(policies, margin)))
    weights = list(policies[0].model.parameters())
    return value.detach(), list(torch.autograd.grad(value, weights))


def test_batch_puts_every_loss_to_the_test(policies: Policies) -> None:
    """Margins lie on both sides of 0 and of the kink of the hinge."""
    z = margins(policies, DPO(BETA))
    assert (z > 1).any() and (z < -1).any() and (z.abs() < 1).any()


@pytest.mark.parametrize(
    ("margin", "loss", "loss_type", "label_smoothing"),
    [
        (DPO(BETA), Logistic(), "sigmoid", 0.0),
        (DPO(BETA), Hinge(), "hinge", 0.0),
        (AverageLogRatio(), IPO(BETA), "ipo", 0.0),
        (DPO(BETA), RDPO(0.1), "robust", 0.1),
        (DPO(BETA), RDPO(0.4), "robust", 0.4),
        (DPO(BETA), CDPO(0.0), "sigmoid", 0.0),
        (DPO(BETA), EXO(), "exo_pair", 0.001),
        (DPO(BETA), EXO(0.3), "exo_pair", 0.3),
    ],
    ids=["dpo", "slic", "ipo", "rdpo-0.1", "rdpo-0.4", "cdpo-0", "exo-0.001", "exo-0.3"],
)
def test_value_and_gradients_equal_those_of_trl(
    margin: BaseMargin,
    loss: MarginLoss,
    loss_type: str,
    label_smoothing: float,
    policies: Policies,
    peer: Any,
    tiny: Any,
) -> None:
    peer.loss_types, peer.label_smoothing = [loss_type], label_smoothing
    torch.testing.assert_close(ours(policies, margin, loss), tiny.value_and_gradients(peer))


@pytest.mark.parametrize(
    "loss", [Ramp(), Sigmoid(), ROPO(), DrDPO(0.5), IPO(BETA)], ids=lambda loss: type(loss).__name__
)
def test_our_engine_equals_our_losses_in_the_trainer_of_trl(
    loss: MarginLoss, policies: Policies, tiny: Any, tmp_path: Path
) -> None:
    from sympo.integrations.trl import SymPOTrainer

    margin = AverageLogRatio() if loss.average_log_ratio else DPO(BETA)
    guest = tiny.trainer(SymPOTrainer, tiny.settings(tmp_path, beta=BETA), loss=loss)
    torch.testing.assert_close(ours(policies, margin, loss), tiny.value_and_gradients(guest))


@pytest.mark.parametrize("loss", [CDPO(0.0), RDPO(0.0)])
def test_at_assumed_rate_0_training_is_that_of_dpo(loss: MarginLoss, policies: Policies) -> None:
    def trajectory(loss: MarginLoss) -> list[float]:
        policy, reference, rows = policies
        policy = copy.deepcopy(policy)
        optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-2)
        values = []
        for _ in range(5):
            value = loss.reduce(loss(margins((policy, reference, rows), DPO(BETA))))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        return values

    found = trajectory(loss)
    assert found == trajectory(Logistic())
    assert found[-1] < found[0]
