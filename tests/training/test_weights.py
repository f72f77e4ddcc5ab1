"""Weights and probabilities of pairs mean the same in every trainer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sympo.losses import DrDPO, Exponential, Logistic, MarginLoss, Ramp, Sigmoid, Unhinged
from sympo.margins import DPO, Reward, SimPO
from sympo.models.images.cnn import CNN
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.noise import Symmetric, flip
from sympo.objective import Objective
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.training.stacked_objective import StackedObjective
from sympo.training.stacked_policies import StackedPreferenceTrainer
from sympo.types import NoisyPairs, chosen_over_rejected
from tests.training.made_images import DATA
from tests.training.made_pairs import PAIRS, TINY, VOCABULARY, make_rows, trainer, weights

LOSSES = [Logistic(), Sigmoid(), Ramp(), Unhinged(), Exponential()]
Z = torch.tensor([-3.0, -0.5, 0.0, 0.25, 2.0])


def found(
    loss: MarginLoss, weight: torch.Tensor | None, probability: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The reduced loss of the margins Z, and its gradient."""
    z = Z.clone().requires_grad_()
    objective = Objective(Reward(), loss)
    losses = objective.of_margins(z, None if probability is None else -z, probability, weight)
    reduced = objective.reduced(losses, weight)
    (gradient,) = torch.autograd.grad(reduced, [z])
    return reduced.detach(), gradient


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_ones_change_no_bit(loss: MarginLoss) -> None:
    ones = torch.ones(5)
    for weight, probability in (ones, None), (None, ones), (ones, ones):
        for one, other in zip(
            found(loss, weight, probability), found(loss, None, None), strict=True
        ):
            assert torch.equal(one, other)


def test_the_loss_is_the_expected_one() -> None:
    p = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0])
    for loss in LOSSES:
        expected = (p * loss(Z) + (1 - p) * loss(-Z)).mean()
        assert found(loss, None, p)[0] == pytest.approx(float(expected), rel=1e-6)
    # l(z) + l(-z) = 1 for the sigmoid loss: at p = 1/2 nothing is learned
    assert found(Sigmoid(), None, torch.full((5,), 0.5))[1].abs().max() < 1e-7
    # the logistic loss is smallest if sigmoid(z) = p
    z = torch.log(torch.tensor([0.2, 0.7]) / torch.tensor([0.8, 0.3])).requires_grad_()
    losses = Objective(Reward(), Logistic()).of_margins(z, -z, torch.tensor([0.2, 0.7]), None)
    (gradient,) = torch.autograd.grad(losses.sum(), [z])
    assert gradient.abs().max() < 1e-6


def test_weights_are_those_of_a_mean() -> None:
    weight = torch.tensor([2.0, 0.0, 1.0, 0.0, 3.0])
    loss, gradient = found(Logistic(), weight, None)
    repeated = Logistic()(Z[[0, 0, 2, 4, 4, 4]]).mean()
    assert float(loss) == pytest.approx(float(repeated), rel=1e-6)
    assert gradient[1] == gradient[3] == 0
    assert found(Logistic(), torch.zeros(5), None)[0] == 0


def test_a_pair_without_weight_cannot_overflow() -> None:
    z = torch.tensor([-200.0, 1.0], requires_grad=True)
    objective, weight = Objective(Reward(), Exponential()), torch.tensor([0.0, 1.0])
    half = torch.tensor([1.0, 0.0])
    for opposite, p in (None, None), (-z, half):
        loss = objective.reduced(objective.of_margins(z, opposite, p, weight), weight)
        (gradient,) = torch.autograd.grad(loss, [z])
        assert torch.isfinite(loss) and torch.isfinite(gradient).all() and gradient[0] == 0


def test_dr_dpo_weights_pairs_twice() -> None:
    """The gradient of -b log(sum w exp(-l / b) / sum w), as of pairs that are repeated w times."""
    weight = torch.tensor([2.0, 1.0, 0.0, 3.0, 1.0])
    z = Z.clone().requires_grad_()
    total = (weight * torch.exp(-Logistic()(z) / 0.5)).sum() / weight.sum()
    (expected,) = torch.autograd.grad(-0.5 * torch.log(total), [z])
    torch.testing.assert_close(found(DrDPO(0.5), weight, None)[1], expected)


def test_a_pair_without_weight_does_not_outweigh_the_others() -> None:
    """Its margin counts as 0, which underflows the weights of large losses relative to it."""
    z = torch.tensor([5.0, -8.0, -9.0], requires_grad=True)
    objective, weight = Objective(Reward(), DrDPO(0.02)), torch.tensor([0.0, 1.0, 1.0])
    loss = objective.reduced(objective.of_margins(z, None, None, weight), weight)
    (gradient,) = torch.autograd.grad(loss, [z])
    torch.testing.assert_close(gradient, torch.tensor([0.0, -1.0, 0.0]), atol=1e-3, rtol=0)
    nothing = objective.reduced(objective.losses(z), torch.zeros(3))
    assert nothing == 0


def test_a_target_belongs_to_both_labels() -> None:
    margin = SimPO(beta=1.0, gamma=0.5)
    objective, rewards = Objective(margin, Logistic()), torch.tensor([[1.0, 0.2]])
    label, p = torch.ones(1), torch.tensor([0.0])
    z = objective.z(rewards[:, 0], rewards[:, 1], label)
    opposite = objective.z(rewards[:, 0], rewards[:, 1], -label)
    turned = objective.of_margins(z, opposite, p, None)
    assert torch.equal(turned, objective.losses(opposite)) and not torch.equal(opposite, -z)


def test_stacked_cells_weight_as_one_cell_does() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 6, generator=draw)
    label = torch.sign(torch.randn(3, 6, generator=draw))
    weight, p = torch.rand(2, 3, 6, generator=draw)
    weight[2], p[2] = 1, 1  # a cell without either
    losses = [Logistic(), DrDPO(0.7), Ramp()]
    cpu = torch.device("cpu")
    stacked = StackedObjective(Reward(), losses, cpu, shared=True, weighted=[True, True, False])
    total = stacked.reduced(first, second, label, weight, p)
    for cell, loss in enumerate(losses):
        own = Objective(Reward(), loss)
        z = label[cell] * (first[cell] - second[cell])
        used = weight[cell] if cell < 2 else None
        expected = own.reduced(own.of_margins(z, -z, p[cell], used), used)
        torch.testing.assert_close(total[cell], expected)
    alone = StackedObjective(Reward(), losses[2:], cpu, shared=True)
    assert torch.equal(total[2:], alone.reduced(first[2:], second[2:], label[2:]))


def image_trainer(*changes: dict[str, Any]) -> CellTrainer:
    noisy = flip(Symmetric(), 0.3, DATA[0].train, 0)
    validation = flip(Symmetric(), 0.3, DATA[0].validation, 0)
    cells = [RewardCell(0, Logistic(), replace(noisy, **one), validation) for one in changes]
    schedule = Schedule(epochs=1, batch_size=128, evaluate_every=1)
    return CellTrainer(cells, DATA, CNN(kernel_size=3, padding=1), schedule)


def test_images_train_on_weights() -> None:
    ones = np.ones(2000)
    removed = np.arange(2000) % 3 == 0
    noisy = flip(Symmetric(), 0.3, DATA[0].train, 0)
    changes: list[dict[str, Any]] = [
        {},
        {"weight": ones, "probability": ones},
        {"weight": (~removed).astype(float)},
        # what happens to removed pairs is of no account
        {"weight": (~removed).astype(float), "flipped": noisy.flipped ^ removed},
        {"turned": noisy.flipped},
        {"probability": (~noisy.flipped).astype(float)},
    ]
    together = image_trainer(*changes)
    together.train_epoch()
    rewards = together.rewards()
    plain = image_trainer({})
    plain.train_epoch()
    assert np.array_equal(rewards[0], plain.rewards()[0], equal_nan=True)
    assert np.array_equal(rewards[0], rewards[1], equal_nan=True)
    assert np.array_equal(rewards[2], rewards[3], equal_nan=True)
    assert not np.array_equal(rewards[0], rewards[2], equal_nan=True)
    # turning flipped labels around, and knowing that they are wrong, is training on clean ones
    np.testing.assert_allclose(rewards[4], rewards[5], rtol=1e-4, atol=1e-4)


def text_weights(**more: Any) -> torch.Tensor:
    rows, own = make_rows(), trainer(make_rows(), Logistic())
    again = PreferenceTrainer(
        own.scorer, rows, own.labels.numpy(), own.reference.numpy(),  # type: ignore[union-attr]
        own.objective, own.recipe, seed=0, tokens=60, **more,
    )  # fmt: skip
    again.train(lambda loss: None)
    return weights(again)


def test_texts_train_on_weights() -> None:
    ones, labels = np.ones(PAIRS), np.where(np.arange(PAIRS) % 3 == 0, -1.0, 1.0)
    plain = text_weights()
    assert torch.equal(plain, text_weights(weight=ones, probability=ones))
    kept = (labels > 0).astype(float)
    assert not torch.equal(plain, text_weights(weight=kept))
    # twice the weight of all pairs is no weight
    torch.testing.assert_close(plain, text_weights(weight=2 * ones))


def test_stacked_policies_train_on_weights() -> None:
    rows = make_rows()
    labels = np.where(np.arange(PAIRS) % 3 == 0, -1.0, 1.0)
    draw = np.random.default_rng(0)
    weight, p, ones = draw.uniform(0, 2, PAIRS), draw.uniform(0, 1, PAIRS), np.ones(PAIRS)
    recipe = Recipe(epochs=2, batch_size=12, learning_rate=1e-2, warmup_steps=0, max_grad_norm=1.0)
    reference = trainer(rows, Logistic()).reference
    assert reference is not None

    def stacked(*columns: tuple[np.ndarray | None, np.ndarray | None]) -> torch.Tensor:
        model = StackedLlama.of(TINY.build(VOCABULARY, 0), len(columns))
        own = StackedPreferenceTrainer(
            model, RowTable(rows, torch.device("cpu"), torch.float32), rows.lengths,
            np.stack([labels] * len(columns)), reference.numpy(), DPO(beta=0.5),
            [Logistic()] * len(columns), recipe, 0,
            [one for one, _ in columns], [other for _, other in columns],
        )  # fmt: skip
        own.train(lambda losses: None)
        return own.model.weights.detach().clone()

    together = stacked((None, None), (ones, ones), (weight, p))
    assert torch.equal(together[0], together[1])
    assert torch.equal(together[0], stacked((None, None))[0])
    alone = trainer(rows, Logistic(), warmup_steps=0)
    alone = PreferenceTrainer(
        alone.scorer, rows, labels, reference.numpy(), alone.objective, recipe,
        seed=0, tokens=10_000, weight=weight, probability=p,
    )  # fmt: skip
    alone.train(lambda loss: None)
    made = TINY.build(VOCABULARY, 0)
    model = StackedLlama.of(made, 3)
    model.weights.data.copy_(together)
    model.write(2, made)
    written = torch.cat([one.detach().flatten() for one in made.parameters()])
    torch.testing.assert_close(written, weights(alone), rtol=1e-3, atol=1e-4)


def test_cleaned_pairs() -> None:
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64), probability=np.full(4, 0.8))
    noisy = NoisyPairs(pairs, np.array([False, True, False, True]), probability=pairs.probability)
    suspects = np.array([False, True, True, False])
    removed = noisy.cleaned(suspects, "remove")
    assert removed.weight is not None and removed.weight.tolist() == [1, 0, 0, 1]
    assert removed.trained_label.tolist() == noisy.noisy_label.tolist() == [1, -1, 1, -1]
    turned = noisy.cleaned(suspects, "flip")
    assert turned.trained_label.tolist() == [1, 1, -1, -1]
    assert turned.noisy_label.tolist() == [1, -1, 1, -1] and turned.weight is None
    first = turned.head(2)
    assert first.trained_label.tolist() == [1, 1] and len(first.pairs) == 2
    assert first.probability is not None and first.probability.tolist() == [0.8, 0.8]


def test_a_flip_keeps_the_probability_of_its_label() -> None:
    p = np.linspace(0.5, 1, 50)
    pairs = chosen_over_rejected(np.arange(50, dtype=np.uint64), probability=p)
    noisy = flip(Symmetric(), 0.4, pairs, 0)
    assert noisy.flipped.any() and noisy.probability is p
