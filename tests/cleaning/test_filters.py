"""What filters doubt, by models whose margins are made up."""

from typing import Any

import numpy as np
import pytest

from sympo.cleaning import EM, CoTeaching, Ensemble, PairFilter, Posterior, SmallLoss, smallest
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
        self.probabilities: list[np.ndarray | None] = []
        self.seen = np.zeros((models, N), dtype=int)
        self.epochs_to_memorise = epochs_to_memorise

    def train_epoch(
        self, weight: np.ndarray | None = None, probability: np.ndarray | None = None
    ) -> None:
        if weight is not None:
            self.weight = weight
        self.probabilities.append(probability)
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


class Calibrated(Made):
    """A model whose margins are the true log-odds that each label is right, at a rate of 0.3."""

    def __init__(self, n: int) -> None:
        super().__init__(1)
        random = np.random.default_rng(0)
        self.log_odds = random.normal(0, 3, n)
        # the label y of a pair is +1 with probability s(log-odds), and 0.3 of them are flipped
        label = np.where(random.random(n) < 1 / (1 + np.exp(-self.log_odds)), 1, -1)
        self.flipped = random.random(n) < 0.3
        self.noisy = np.where(self.flipped, -label, label)

    def margins(self) -> np.ndarray:
        return (self.noisy * self.log_odds)[None]


def test_em_learns_the_rate_and_each_posterior_from_calibrated_margins() -> None:
    models = Calibrated(50_000)
    wrong = EM(epochs=60).suspects(models, IDS, 0)
    assert wrong.mean() == pytest.approx(0.3, abs=0.01)
    # pairs that are wrong with probability p are flipped in a share p
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.0)):
        inside = (wrong >= low) & (wrong < high)
        assert models.flipped[inside].mean() == pytest.approx(wrong[inside].mean(), abs=0.02)
    first, second = models.probabilities[:2]
    assert first is not None and second is not None and (first == 1).all()
    # after one step at the initial rate of 0.1
    m = models.margins()
    right = 0.9 / (1 + np.exp(-m))
    np.testing.assert_allclose(second, right / (right + 0.1 / (1 + np.exp(m))), rtol=1e-9)


@pytest.mark.parametrize("kind", [EM, Posterior])
def test_an_assumed_rate_is_kept(kind: type[EM] | type[Posterior]) -> None:
    models = Calibrated(1000)
    m = models.margins()[0]
    right, wrong = 0.6 / (1 + np.exp(-m)), 0.4 / (1 + np.exp(m))
    found = kind(assumed_rate=0.4, epochs=5).suspects(models, IDS, 0)
    np.testing.assert_allclose(found, wrong / (right + wrong), rtol=1e-9)
    assert models.probabilities[1] is not None and (models.probabilities[1] < 1).all()


def test_posteriors_follow_one_estimate_after_the_warm_up() -> None:
    models = Calibrated(1000)
    found = Posterior(epochs=5, warm_up_epochs=3).suspects(models, IDS, 0)
    # validation margins imply a rate of 0.1
    m = models.margins()[0]
    np.testing.assert_allclose(found, 1 / (1 + 9 * np.exp(m)), rtol=1e-9)
    given = [one for one in models.probabilities if one is not None]
    assert [bool((one == 1).all()) for one in given] == [True, True, True, False, False]
    short = Calibrated(1000)  # a cell of two epochs shortens the warm-up
    shortened = Posterior(epochs=2, warm_up_epochs=3).suspects(short, IDS, 0)
    np.testing.assert_array_equal(shortened, found)


@pytest.mark.parametrize("kind", [EM, Posterior, SmallLoss, CoTeaching, Ensemble])
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
        "filter_rate": 0.6, "filter_share": 0.6, "filter_precision": 2 / 3, "filter_recall": 2 / 3
    }  # fmt: skip
    none = np.zeros(5, dtype=bool)
    assert filter_metrics(none, none) == {
        "filter_rate": 0, "filter_share": 0, "filter_precision": None, "filter_recall": None
    }  # fmt: skip
    doubt = np.array([0.9, 0.6, 0.5, 0.25, 0.0])
    assert filter_metrics(doubt, flipped) == {
        "filter_rate": 0.45, "filter_share": 0.4, "filter_precision": 0.5, "filter_recall": 1 / 3
    }  # fmt: skip
