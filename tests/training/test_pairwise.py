"""Preference training: steps, accumulation, reductions, schedules, and going on from a state."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from sympo import ranges
from sympo.losses import (
    CDPO,
    RDPO,
    ROPO,
    DrDPO,
    Exponential,
    Hinge,
    Logistic,
    MarginLoss,
    Ramp,
    Savage,
    Sigmoid,
    Square,
    TruncatedHinge,
    Unhinged,
)
from sympo.margins import Reward, SimPO
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.reward_models import RewardModel
from sympo.objective import Objective
from sympo.training.diverged import Diverged
from sympo.training.fine_tuning import fine_tune
from sympo.training.optimizer import Recipe, batches
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import BadInput, Encoded
from tests.training.made_pairs import (
    PAIRS,
    REWARD,
    TINY,
    VOCABULARY,
    make_rows,
    trainer,
    weights,
)


@pytest.fixture(scope="module")
def rows() -> PackedRows:
    return make_rows()


@pytest.mark.parametrize("loss", [Logistic(), Ramp(), DrDPO(temperature=0.2)], ids=str)
def test_passes_do_not_change_a_step(rows: PackedRows, loss: MarginLoss) -> None:
    whole, parts = trainer(rows, loss), trainer(rows, loss, tokens=40)
    batch = np.arange(12)
    assert len(list(rows.batches(batch, 40))) > 3
    for _ in range(3):
        assert whole.step(batch) == pytest.approx(parts.step(batch), abs=1e-6)
    # Adam's step is the learning rate's size whatever the gradient's, so compare generously
    assert torch.allclose(weights(whole), weights(parts), atol=1e-4)


EVERY_LOSS = [
    *(kind() for kind in (Exponential, Hinge, Logistic, Ramp, ROPO, Savage, Sigmoid, Square)),
    *(TruncatedHinge(), Unhinged(), CDPO(assumed_rate=0.2), RDPO(assumed_rate=0.2), DrDPO()),
]


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_every_loss_trains_a_reward_model(rows: PackedRows, loss: MarginLoss) -> None:
    rewards = RewardModel(REWARD.build(VOCABULARY, 0))
    labels = np.where(np.arange(PAIRS) % 3 == 0, -1.0, 1.0)
    own = PreferenceTrainer(
        rewards, rows, labels, None, Objective(Reward(), loss),
        Recipe(epochs=1, batch_size=PAIRS, learning_rate=1e-2), seed=0, tokens=100,
    )  # fmt: skip
    scores = rewards.score(rows, 10_000)
    z = torch.tensor(labels * (scores[:, 0] - scores[:, 1]))
    before = own.step(np.arange(PAIRS))
    assert before == pytest.approx(float(loss.reduce(loss(z))), abs=1e-5)
    assert own.step(np.arange(PAIRS)) < before


def gradient(trained: PreferenceTrainer, batch: np.ndarray) -> torch.Tensor:
    kept: list[torch.Tensor] = []

    def keep(divisor: float) -> None:
        parts = [p.grad.flatten() / divisor for p in trained.scorer.model.parameters()]
        kept.append(torch.cat(parts))

    trained.optimizer.step = keep  # type: ignore[method-assign, assignment]
    trained.step(batch)
    return kept[0]


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-3])
def test_weighed_passes_give_the_gradient_of_the_whole_batch(
    rows: PackedRows, temperature: float
) -> None:
    loss = DrDPO(temperature=temperature)
    own = trainer(rows, loss, tokens=40)
    with torch.no_grad():  # away from the reference, where all margins are 0
        for p in own.scorer.model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    batch = np.arange(12)
    logps, lengths = own.scorer.logps(rows, batch)
    assert own.reference is not None
    z = own.objective.z_of_scores(logps, own.reference[:12], lengths, own.labels[:12])
    loss.reduce(loss(z)).backward()
    expected = torch.cat([p.grad.flatten() for p in own.scorer.model.parameters()])
    own.scorer.model.zero_grad()
    found = gradient(own, batch)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_at_assumed_rate_zero_dpo_cdpo_and_rdpo_are_one(rows: PackedRows) -> None:
    losses: list[MarginLoss] = [Logistic(), CDPO(assumed_rate=0.0), RDPO(assumed_rate=0.0)]
    paths = []
    for loss in losses:
        seen: list[float] = []
        own = trainer(rows, loss)
        own.train(seen.append)
        paths.append((seen, weights(own)))
    assert paths[0][0] == paths[1][0] == paths[2][0]
    assert torch.equal(paths[0][1], paths[1][1]) and torch.equal(paths[0][1], paths[2][1])


def test_a_flipped_label_is_a_swapped_pair(rows: PackedRows) -> None:
    own = trainer(rows, Logistic())
    logps, reference = torch.randn(5, 2), torch.randn(5, 2)
    lengths, label = torch.full((5, 2), 3.0), torch.ones(5)
    objective = own.objective
    flipped = objective.z_of_scores(logps, reference, lengths, -label)
    swapped = objective.z_of_scores(logps.flip(1), reference.flip(1), lengths, label)
    assert torch.allclose(flipped, swapped)
    target = Objective(SimPO(beta=2.0, gamma=0.5), Logistic())
    z = target.z_of_scores(logps, None, lengths, label)
    assert torch.allclose(z, 2 * (logps[:, 0] - logps[:, 1]) / 3 - 0.5)


def test_it_learns_clean_labels_and_memorises_flipped_ones(rows: PackedRows) -> None:
    own = trainer(rows, Logistic(), epochs=60)
    own.train(lambda loss: None)
    logps, lengths = own.scorer.logps(rows, np.arange(PAIRS))
    z = own.objective.z_of_scores(logps, own.reference, lengths, own.labels)
    assert (z > 0).float().mean() == 1


def test_going_on_from_a_state_is_bitwise(rows: PackedRows) -> None:
    undisturbed = trainer(rows, Ramp(), epochs=3)
    seen: list[float] = []
    undisturbed.train(seen.append)
    stopped = trainer(rows, Ramp(), epochs=3)
    first: list[float] = []
    for batch in list(batches(PAIRS, stopped.recipe, 0, "preferences"))[:3]:
        stopped.scorer.model.train()
        first.append(stopped.step(batch))
    state = copy.deepcopy(stopped.state())
    resumed = trainer(rows, Ramp(), epochs=3)
    resumed.restore(state)
    resumed.train(first.append)
    assert first == seen
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_what_is_not_finite_stops_the_cell(rows: PackedRows) -> None:
    own = trainer(rows, Logistic(), learning_rate=1e30, max_grad_norm=None, epochs=5)
    with pytest.raises(Diverged, match="learning rate"):
        own.train(lambda loss: None)


def test_schedule_by_hand() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=1.0, warmup_steps=3)
    scales = [recipe.scale(step, 7) for step in range(7)]
    assert scales[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert scales[5] == pytest.approx(0.5) and scales[3:] == sorted(scales[3:], reverse=True)


def test_batches_cover_each_epoch_and_go_on() -> None:
    recipe = Recipe(epochs=2, batch_size=4, learning_rate=1.0)
    found = list(batches(10, recipe, 0, "x"))
    assert [len(batch) for batch in found] == [4, 4, 2] * 2
    assert sorted(np.concatenate(found[:3])) == sorted(np.concatenate(found[3:])) == list(range(10))
    assert not np.array_equal(np.concatenate(found[:3]), np.concatenate(found[3:]))
    for first in range(7):
        rest = list(batches(10, recipe, 0, "x", first))
        assert len(rest) == 6 - first
        assert all(np.array_equal(a, b) for a, b in zip(rest, found[first:], strict=True))


def test_fine_tuning_learns_the_corpus(rows: PackedRows) -> None:
    ids = [np.array([1, 2, 3, 4, 5, 10])] * 16 + [np.array([1, 2, 5, 10])] * 16
    corpus = PackedRows(Encoded(ids, np.full(32, 2)))
    policy, seen = Policy(TINY.build(VOCABULARY, 0)), []
    recipe = Recipe(epochs=40, batch_size=8, learning_rate=1e-2)
    fine_tune(policy, corpus, recipe, 0, 50, lambda step, steps, loss: seen.append(loss))
    # a fair coin after the prompt, and then all is certain: log 2 nats in 4 + 2 tokens
    assert seen[-1] == pytest.approx(2 * np.log(2) / 6, abs=0.05)
    assert np.exp(policy.score(corpus, 1000)[:, 0]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"warmup_steps": -1}],
)
def test_bad_recipe(changes: dict[str, float]) -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 1, "learning_rate": 1.0, **changes}
    with pytest.raises(BadInput, match=f"^{next(iter(changes))}="):
        ranges.check(Recipe(**settings))
