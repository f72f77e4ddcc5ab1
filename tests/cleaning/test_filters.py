"""What filters doubt, by models whose margins are made up."""

from typing import Any

import numpy as np
import pytest

from sympo.cleaning import CoTeaching, Ensemble, PairFilter, SmallLoss, smallest
from sympo.evaluation.flips import filter_metrics
from sympo.types import BadArgument

N = 200
IDS = np.arange(N, dtype=np.uint64) * np.uint64(7919)
# labels of a fifth of the pairs are wrong; good models have margin -1 there and 1 elsewhere
WRONG = np.arange(N) % 5 == 0


class Made:
    """Models that find every wrong label among the pairs they are not trained on, and learn the
    labels of those that they are trained on by heart after `epochs_to_memorise`."""

    def __init__(self, models: int, epochs_to_memorise: int = 1000) -> None:
        self.weights: list[np.ndarray] = []
        self.weight = np.ones((models, N))
        self.seen = np.zeros((models, N), dtype=int)
        self.epochs_to_memorise = epochs_to_memorise

    def train_epoch(self, weight: np.ndarray | None = None) -> None:
        if weight is not None:
            self.weight = weight
        self.weights.append(self.weight)
        self.seen += self.weight > 0

    def margins(self) -> np.ndarray:
        truth = np.where(WRONG, -1.0, 1.0) * np.linspace(1, 2, N)
        return np.where(self.seen >= self.epochs_to_memorise, np.abs(truth), truth)

    def validation_margins(self) -> np.ndarray:
        # a tenth of the largest margins is negative, so that the estimated rate is 0.1
        margin = np.where(np.arange(1000) % 10 == 0, -3.0, 3.0)
        margin[200:] = 0.1
        return np.stack([margin] * len(self.seen))


def test_the_smallest_margins() -> None:
    margins = np.array([[3.0, -1.0, 2.0, -2.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    assert smallest(margins, 0.4).tolist() == [
        [False, True, False, True, False], [True, True, False, False, False]
    ]  # fmt: skip
    assert not smallest(margins, 0).any()


def test_small_loss_doubts_as_many_as_the_rate_says() -> None:
    models = Made(1)
    found = SmallLoss(assumed_rate=0.2, epochs=3).suspects(models, IDS, 0)
    assert np.array_equal(found, WRONG) and len(models.weights) == 3
    estimated = SmallLoss().suspects(Made(1), IDS, 0)
    assert estimated.sum() == round(0.1 * N) and not (estimated & ~WRONG).any()


def test_a_fold_is_judged_by_the_model_that_was_trained_without_it() -> None:
    # a model that memorises at once is of no use where it was trained
    models = Made(4, epochs_to_memorise=1)
    found = Ensemble(folds=4, epochs=2).suspects(models, IDS, 0)
    assert np.array_equal(found, WRONG)
    weight = models.weights[0]
    assert weight.shape == (4, N) and (weight == 0).sum(0).tolist() == [1] * N
    assert (weight == 0).sum(1).tolist() == [N // 4] * 4
    other = Made(4)
    Ensemble(folds=4).suspects(other, IDS, 1)
    assert not np.array_equal(other.weights[0], weight)  # folds are drawn from the seed
    few = Ensemble(folds=4, assumed_rate=0.05).suspects(Made(4), IDS, 0)
    assert few.sum() == round(0.05 * N) and not (few & ~WRONG).any()


def test_each_network_is_trained_on_the_choice_of_the_other() -> None:
    class Different(Made):
        def margins(self) -> np.ndarray:
            margins = super().margins()
            margins[0, 1], margins[1, 2] = -5, -5  # doubted by one of them each
            return margins

    models = Different(2)
    found = CoTeaching(assumed_rate=0.2, epochs=4, ramp_epochs=2).suspects(models, IDS, 0)
    shares = [(weight == 0).mean() for weight in models.weights]
    assert shares == [0, 0.1, 0.2, 0.2]
    last = models.weights[-1]
    assert last[1, 1] == 0 and last[0, 1] == 1 and last[0, 2] == 0 and last[1, 2] == 1
    assert found.sum() == 40


@pytest.mark.parametrize("kind", [SmallLoss, CoTeaching, Ensemble])
@pytest.mark.parametrize(
    ("settings", "named"),
    [({"action": "drop"}, "action"), ({"assumed_rate": 0.5}, "assumed_rate"),
     ({"epochs": 0}, "epochs")],
)  # fmt: skip
def test_settings_are_checked(kind: type[PairFilter], settings: Any, named: str) -> None:
    with pytest.raises(BadArgument, match=f"^{named}="):
        kind(**settings)


def test_precision_and_recall() -> None:
    suspects = np.array([True, True, False, False, True])
    flipped = np.array([True, False, True, False, True])
    assert filter_metrics(suspects, flipped) == {
        "filter_share": 0.6, "filter_precision": 2 / 3, "filter_recall": 2 / 3
    }  # fmt: skip
    none = np.zeros(5, dtype=bool)
    assert filter_metrics(none, none) == {
        "filter_share": 0, "filter_precision": None, "filter_recall": None
    }  # fmt: skip
