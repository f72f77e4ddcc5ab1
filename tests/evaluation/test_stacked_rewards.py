import numpy as np
import torch

from sympo.evaluation.rewards import agreement, gaps, label_metrics, order_metrics
from sympo.evaluation.stacked_rewards import StackedMetrics
from sympo.noise import Symmetric, flip
from tests.training.made_images import DATA


def test_cells_together_have_the_metrics_of_each_alone() -> None:
    draw, rng = DATA[0], np.random.default_rng(0)
    train, validation = (
        [flip(Symmetric(), rate, pairs, 0) for rate in (0.0, 0.1, 0.4)]
        for pairs in (draw.train, draw.validation)
    )
    stacked = StackedMetrics(draw, train, validation)
    rewards = draw.rewards + 3 * rng.normal(size=(3, len(draw.pixels)))
    rewards = rewards.round(1)  # some pairs tie
    found, right = stacked(torch.from_numpy(rewards[:, stacked.images]))
    for cell, reward in enumerate(rewards):
        test = gaps(reward, draw.test)
        expected = {
            "test": order_metrics(test, draw.test),
            "train": label_metrics(reward, train[cell]),
            "validation": label_metrics(reward, validation[cell]),
        }
        for split, metrics in expected.items():
            for name, value in metrics.items():
                assert found[cell][f"{split}/{name}"] == value, name
        np.testing.assert_array_equal(right[cell], agreement(test, draw.test.gap))
    assert found[0]["train/flipped_memorised"] is found[0]["train/flip_auroc"] is None
    assert found[2]["train/flip_auroc"] not in (None, 0, 0.5, 1)
    assert 0 < found[1]["test/tie_rate"] < 1
