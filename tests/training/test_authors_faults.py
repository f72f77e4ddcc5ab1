"""Faults of the authors' code, each switched on alone: right values, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sympo.evaluation.rewards import agreement, gaps
from sympo.losses import Logistic, MarginLoss, Ramp, Sigmoid
from sympo.models.images.cnn import CNN
from sympo.noise import Symmetric, flip
from sympo.outcomes import unpack
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.types import Evaluation
from tests.training.made_images import DATA, DATASET

MODEL = CNN(kernel_size=3, padding=1)
SCHEDULE = Schedule(epochs=3, batch_size=128, evaluate_every=1)


def trainer(
    *cells: tuple[int, MarginLoss], schedule: Schedule = SCHEDULE, model: CNN = MODEL
) -> CellTrainer:
    made = [
        RewardCell(
            seed, loss, flip(Symmetric(), 0.3, DATA[seed].train, seed),
            flip(Symmetric(), 0.3, DATA[seed].validation, seed),
        )
        for seed, loss in cells
    ]  # fmt: skip
    return CellTrainer(made, DATA, model, schedule)


def trained(model: CellTrainer) -> list[list[Evaluation]]:
    found: list[list[Evaluation]] = []
    model.train(lambda _, evaluations: found.append(evaluations or []))
    return found


def test_dropout_at_evaluation_changes_the_scores_and_not_the_training() -> None:
    cells = [(0, Ramp()), (1, Logistic())]
    plain = trainer(*cells)
    dropped = trainer(*cells, model=replace(MODEL, dropout_at_evaluation=True))
    for _ in range(2):
        np.testing.assert_array_equal(plain.train_epoch(), dropped.train_epoch())
        assert not np.allclose(plain.rewards()[0], dropped.rewards()[0], equal_nan=True)
    # the masks are those of the evaluation, whenever it is made
    np.testing.assert_array_equal(dropped.rewards(), dropped.rewards())


def test_masks_of_an_evaluation_do_not_depend_on_the_batch() -> None:
    model = replace(MODEL, dropout_at_evaluation=True)
    together = trainer((0, Ramp()), (0, Logistic()), (1, Ramp()), model=model)
    alone = trainer((1, Ramp()), model=model)
    for one in (together, alone):
        one.train_epoch()
    np.testing.assert_array_equal(together.rewards()[2], alone.rewards()[0])


def test_the_last_test_batch_is_scored_and_doubled_in_the_last_epoch_alone() -> None:
    cells = [(0, Ramp()), (1, Ramp())]
    plain = trained(trainer(*cells))
    model = trainer(*cells, schedule=replace(SCHEDULE, last_test_batch=True))
    found = trained(model)
    for epoch in (0, 1):
        assert [one.metrics for one in found[epoch]] == [one.metrics for one in plain[epoch]]
    size = 5000 % 128
    for number, (one, rewards) in enumerate(zip(found[2], model.rewards(), strict=True)):
        test = DATA[number].test
        right = agreement(gaps(rewards, test), np.asarray(test.gap))[-size:]
        assert one.metrics["test/order_accuracy"] == right.mean()
        assert one.metrics["test/final_reward_correct"] == 2 * right.mean()
        assert unpack([one.outcomes["test/order_accuracy"]], size).mean() == pytest.approx(
            right.mean()
        )
        np.testing.assert_array_equal(
            model.last_test[number].test_set.ids, np.sort(test.ids[-size:])
        )
        same = "validation/noisy_accuracy"
        assert one.metrics[same] == plain[2][number].metrics[same]


def test_a_test_set_of_whole_batches_ends_with_a_whole_one() -> None:
    schedule = replace(SCHEDULE, batch_size=1000, last_test_batch=True)
    assert len(trainer((0, Ramp()), schedule=schedule).last_test[0].test_set) == 1000


def test_training_averages_that_are_never_reset() -> None:
    cells = [(0, Logistic()), (0, Ramp())]
    losses = np.array(
        [[one.metrics["train/loss"] for one in at] for at in trained(trainer(*cells))]
    )
    schedule = replace(SCHEDULE, averages_never_reset=True)
    carried = trained(trainer(*cells, schedule=schedule))
    batches, average = -(-2000 // 128), np.zeros(2)
    for epoch in (1, 2, 3):
        average = (average + batches * losses[epoch - 1]) / (epoch * batches)
        found = [one.metrics["train/loss"] for one in carried[epoch - 1]]
        assert found == pytest.approx(average, rel=1e-6)

    first = trainer(*cells, schedule=replace(schedule, epochs=2))
    trained(first)
    second = trainer(*cells, schedule=schedule)
    second.restore(first.state())
    (resumed,) = trained(second)
    assert [one.metrics["train/loss"] for one in resumed] == pytest.approx(average, rel=1e-6)


def test_raw_pixels_reach_the_model_as_they_are() -> None:
    draw = replace(DATASET, raw_pixels=True).draw(0)
    assert (draw.mean, draw.std) == (0, 1)
    cell = RewardCell(
        0, Sigmoid(), flip(Symmetric(), 0.1, draw.train, 0),
        flip(Symmetric(), 0.1, draw.validation, 0),
    )  # fmt: skip
    model = CellTrainer([cell], {0: draw}, MODEL, SCHEDULE)
    images = model._images(torch.tensor([[3, 5]]))
    np.testing.assert_array_equal(images[0].numpy(), draw.pixels[[3, 5]].astype(np.float32))
    np.testing.assert_array_equal(draw.train.ids, DATA[0].train.ids)
