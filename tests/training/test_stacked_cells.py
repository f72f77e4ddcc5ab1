"""A batch of cells and its cells alone are the same mathematics."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats

from sympo.losses import (
    CDPO,
    DrDPO,
    Exponential,
    Hinge,
    Logistic,
    MarginLoss,
    Ramp,
    Sigmoid,
    Unhinged,
)
from sympo.margins import Reward
from sympo.models.images.cnn import CNN
from sympo.noise import Symmetric, flip
from sympo.outcomes import unpack
from sympo.training.adam import Adam
from sympo.training.diverged import Diverged
from sympo.training.stacked_cells import (
    CellTrainer,
    RewardCell,
    Schedule,
)
from sympo.training.stacked_objective import StackedObjective
from sympo.types import Evaluation, ImagePreferences
from tests.training.made_images import DATA, DATASET

MODEL = CNN(kernel_size=3, padding=1)
SCHEDULE = Schedule(epochs=3, batch_size=64, learning_rate=1e-3, evaluate_every=2)
GRID = [(0, Ramp(), 0.4), (0, Logistic(), 0.4), (0, Ramp(), 0.1), (1, Sigmoid(), 0.2),
        (2, Hinge(), 0.3), (2, Unhinged(), 0.0)]  # fmt: skip


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


def cell(data: ImagePreferences, seed: int, loss: MarginLoss, noise: float) -> RewardCell:
    return RewardCell(
        seed, loss, flip(Symmetric(), noise, data.train, seed),
        flip(Symmetric(), noise, data.validation, seed),
    )  # fmt: skip


def trainer(*cells: tuple[int, MarginLoss, float], schedule: Schedule = SCHEDULE) -> CellTrainer:
    made = [cell(DATA[seed], seed, loss, noise) for seed, loss, noise in cells]
    return CellTrainer(made, DATA, MODEL, schedule)


def run_steps(model: CellTrainer, steps: int) -> list[np.ndarray]:
    count = model.pairs.shape[2]
    done = 0
    for epoch in range(1, 1000):
        # the order of batches is the trainer's own; here only its length is cut
        order = np.stack(
            [np.random.default_rng([seed, epoch]).permutation(count) for seed in model.seeds]
        )
        for start in range(0, count, 64):
            if done == steps:
                return model.rewards()
            model.model.train()
            model.step(torch.from_numpy(order[:, start : start + 64]))
            done += 1
    raise AssertionError


@pytest.mark.parametrize(
    ("dtype", "steps", "tolerance"),
    [(torch.float64, 50, 1e-9), (torch.float32, 20, 1e-4)],
    indirect=["dtype"],
    ids=["float64", "float32"],
)
def test_a_cell_in_a_batch_is_the_cell_alone(
    dtype: torch.dtype, steps: int, tolerance: float
) -> None:
    together = run_steps(trainer(*GRID), steps)
    for settings, reward in zip(GRID, together, strict=True):
        (alone,) = run_steps(trainer(settings), steps)
        np.testing.assert_allclose(reward, alone, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch_size", [128, 432])  # which leave 80 and 272 pairs for the last step
def test_on_cpu_a_cell_is_bit_by_bit_the_same_in_any_batch(batch_size: int) -> None:
    if MODEL.build((8, 8), [0], [1]).compiled(torch.zeros(1)) is None:
        pytest.skip("there is no C++ compiler; tiles round differently")
    torch.set_num_threads(1)
    schedule = Schedule(epochs=2, batch_size=batch_size, learning_rate=1e-3, evaluate_every=1)
    grid = [*GRID, *((seed, Sigmoid(), noise) for seed in (0, 1) for noise in (0.1, 0.3, 0.4))]
    grid.sort(key=lambda settings: settings[0])
    together = everything(trainer(*grid, schedule=schedule))
    for number, settings in enumerate(grid):
        alone = everything(trainer(settings, schedule=schedule))
        assert [m[0] for _, m in alone] == [m[number] for _, m in together]


def test_on_a_gpu_cells_share_the_calls_of_their_loss() -> None:
    grid = [(0, Ramp(), 0.4), (0, DrDPO(0.5), 0.4), (0, Ramp(), 0.1), (0, DrDPO(0.9), 0.1),
            (1, DrDPO(0.5), 0.2), (1, Ramp(), 0.0)]  # fmt: skip
    alone, shared = trainer(*grid), trainer(*grid)
    assert [count for _, count in alone.objective.groups] == [1] * 6
    losses = [cell.loss for cell in shared.cells]
    shared.objective = StackedObjective(Reward(), losses, torch.device("cpu"), shared=True)
    assert [count for _, count in shared.objective.groups] == [3, 2, 1]
    for (epoch, found), (same, expected) in zip(everything(shared), everything(alone), strict=True):
        assert epoch == same
        for one, other in zip(found, expected, strict=True):
            assert one["train/loss"] == pytest.approx(other["train/loss"], abs=1e-4)
    assert shared.objective.order.tolist() == [0, 2, 5, 1, 4, 3]


def test_a_loss_of_the_wrong_shape_is_refused() -> None:
    class OfAllPairs(Logistic):
        def reduce(self, losses: torch.Tensor) -> torch.Tensor:
            return losses.mean(0)

    with pytest.raises(ValueError, match=r"OfAllPairs.* must reduce the last dimension .* \(1,\)"):
        trainer((0, OfAllPairs(), 0.4)).train_epoch()


def test_cells_go_on_from_their_states_in_another_batch() -> None:
    schedule = Schedule(epochs=4, batch_size=128, learning_rate=1e-3, evaluate_every=1)
    undisturbed = everything(trainer(*GRID, schedule=schedule))
    first = trainer(*GRID, schedule=schedule)
    first.train_epoch()
    first.train_epoch()
    states = first.state()
    chosen = [1, 2, 5]
    second = trainer(*(GRID[number] for number in chosen), schedule=schedule)
    second.restore([states[number] for number in chosen])
    assert second.epoch == 2
    for (epoch, found), (same, whole) in zip(everything(second), undisturbed[2:], strict=True):
        assert epoch == same
        for metrics, number in zip(found, chosen, strict=True):
            assert metrics == pytest.approx(whole[number], abs=2e-3)


def test_a_cell_that_diverges_leaves_the_others_alone() -> None:
    class Explodes(Logistic):
        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            return super().__call__(z) * float("inf")

    alone = everything(trainer((0, Ramp(), 0.4)))
    model = trainer((0, Ramp(), 0.4), (0, Explodes(), 0.4))
    together = everything(model)
    assert list(model.diverged) == [1]
    assert [m[0]["test/order_accuracy"] for _, m in together] == pytest.approx(
        [m[0]["test/order_accuracy"] for _, m in alone], abs=1e-6
    )


def everything(model: CellTrainer) -> list[tuple[int, list[dict[str, float | None]]]]:
    found: list[tuple[int, list[dict[str, float | None]]]] = []

    def keep(epoch: int, evaluations: list[Evaluation] | None) -> None:
        if evaluations:
            found.append((epoch, [one.metrics for one in evaluations]))

    model.train(keep)
    return found


def test_outcomes_are_of_every_test_pair() -> None:
    model = trainer((0, Ramp(), 0.4), (1, Ramp(), 0.4))
    found: list[Evaluation] = []
    model.train(lambda epoch, evaluations: found.extend(evaluations or ()))
    for one, scored, draw in zip(found[-2:], model.test, (DATA[0], DATA[1]), strict=True):
        (scores,) = unpack([one.outcomes["test/order_accuracy"]], len(draw.test))
        assert scores.mean() == pytest.approx(one.metrics["test/order_accuracy"])
        assert scored.test_set.ids.tolist() == sorted(draw.test.ids.tolist())


def test_the_same_batch_repeats_bitwise() -> None:
    assert everything(trainer(*GRID[:2])) == everything(trainer(*GRID[:2]))


def test_evaluations_come_at_the_cadence_and_at_the_end() -> None:
    found = everything(trainer(GRID[0]))
    assert [epoch for epoch, _ in found] == [2, 3]
    metrics = found[-1][1][0]
    for name in ("test/order_accuracy", "validation/noisy_accuracy", "train/clean_accuracy"):
        assert 0.5 < metrics[name] < 1  # it learns
    assert metrics["train/flipped_memorised"] is not None


def test_clean_labels_have_nothing_to_memorise() -> None:
    (metrics,) = everything(trainer((0, Ramp(), 0.0)))[-1][1]
    assert metrics["train/flipped_memorised"] is None
    assert metrics["train/noisy_accuracy"] == metrics["train/clean_accuracy"]


def test_dpo_and_cdpo_agree_at_assumed_rate_0() -> None:
    model = trainer((0, Logistic(), 0.3), (0, CDPO(assumed_rate=0.0), 0.3))
    one, other = run_steps(model, 30)
    np.testing.assert_array_equal(one, other)


def test_a_loss_reduces_its_batches_itself() -> None:
    mean, least, almost_mean = run_steps(
        trainer((0, Logistic(), 0.4), (0, DrDPO(0.05), 0.4), (0, DrDPO(1e6), 0.4)), 10
    )
    used = np.isfinite(mean)
    np.testing.assert_allclose(almost_mean[used], mean[used], atol=1e-2)
    assert np.abs(least[used] - mean[used]).max() > 0.1


def test_divergence_is_told() -> None:
    schedule = Schedule(epochs=3, batch_size=64, learning_rate=1e30, evaluate_every=1)
    model = trainer((0, Exponential(), 0.4), schedule=schedule)
    everything(model)
    assert isinstance(model.diverged[0], Diverged)
    assert re.search("seed 0.*epoch", str(model.diverged[0]))
    assert model.epoch < 3  # nothing is left to train


def test_rewards_that_diverge_in_the_last_step_are_told() -> None:
    schedule = Schedule(epochs=1, batch_size=2000, learning_rate=1e30, evaluate_every=1)
    model = trainer((0, Logistic(), 0.4), schedule=schedule)
    assert everything(model) == [(1, [{"train/loss": pytest.approx(0.7, abs=0.1)}])]
    assert "rewards" in str(model.diverged[0])


def test_cells_of_a_seed_must_stand_together() -> None:
    with pytest.raises(ValueError, match="adjacent"):
        trainer((0, Ramp(), 0.1), (1, Ramp(), 0.1), (0, Ramp(), 0.2))


def test_adam_is_pytorchs() -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, 3), torch.randn(7)]
    ours = [p.clone().requires_grad_() for p in start]
    theirs = [p.clone().requires_grad_() for p in start]
    one, other = Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01)
    for step in range(100):
        target = torch.full((), float(step % 7))
        one.step(sum(((p - target) ** 4).mean() for p in ours))
        other.zero_grad()
        sum(((p - target) ** 4).mean() for p in theirs).backward()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_whole_runs_agree_statistically() -> None:
    """Over whole float32 runs the paths of a cell alone and in a batch may drift apart; the
    accuracies agree on average: paired over 20 seeds, within 0.5 points, the interval covering 0.
    """
    seeds = range(20)
    data = {seed: DATASET.draw(seed) for seed in seeds}
    schedule = Schedule(epochs=10, batch_size=128, learning_rate=1e-3, evaluate_every=10)

    def accuracies(cells: list[RewardCell]) -> list[float]:
        found = everything(CellTrainer(cells, data, MODEL, schedule))
        return [metrics["test/order_accuracy"] for metrics in found[-1][1]]

    alone, together = [], []
    for seed in seeds:
        cells = [cell(data[seed], seed, loss, 0.4) for loss in (Logistic(), Ramp(), Sigmoid())]
        alone += accuracies(cells[:1])
        together += accuracies(cells)[:1]
    difference = np.array(together) - np.array(alone)
    assert abs(difference.mean()) < 0.005
    if difference.any():
        low, high = stats.t.interval(0.95, 19, difference.mean(), stats.sem(difference))
        assert low <= 0 <= high
