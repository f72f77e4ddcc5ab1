import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sympo.evaluation.risk import expected_risk, sampled_risk
from sympo.losses import Logistic, MarginLoss, Ramp, Sigmoid
from sympo.noise import AnnotatorDependent, Asymmetric, InstanceDependent, Symmetric, flip
from sympo.types import PreferencePairs
from tests.conftest import ROOT

RATES = [(-2 / 3, 0.3), (-1.0, 0.2), (-1 / 3, 0.3)]  # (0.1, 0.5), (0, 0.4), (0.2, 0.4)
LOSSES = sorted((ROOT / "conf" / "loss").glob("*.yaml"))


def built(path: Path) -> MarginLoss:
    config = OmegaConf.create({"assumed_rate": 0.2, "loss": OmegaConf.load(path)})
    loss: MarginLoss = instantiate(config.loss)
    return loss


def make_pairs(n: int, stored_as_chosen: bool = False) -> tuple[PreferencePairs, np.ndarray]:
    """Pairs with Bradley-Terry labels, and the gaps of a model that is partly right."""
    rng = np.random.default_rng(0)
    gap = rng.normal(scale=2, size=n)
    label = np.where(rng.random(n) < 1 / (1 + np.exp(-gap)), 1.0, -1.0)
    predicted = gap + rng.normal(scale=2, size=n)
    if stored_as_chosen:
        gap, predicted, label = gap * label, predicted * label, np.ones(n)
    index = np.arange(n)
    return PreferencePairs(index.astype(np.uint64), index, index + n, label, gap), predicted


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
@pytest.mark.parametrize(("k", "noise"), RATES)
@pytest.mark.parametrize("stored_as_chosen", [False, True])
def test_lemma_1_holds_for_every_loss(
    path: Path, k: float, noise: float, stored_as_chosen: bool
) -> None:
    loss, (pairs, gap) = built(path), make_pairs(500, stored_as_chosen)
    one, other = (
        expected_risk(loss, gap, pairs, model, noise, seed=0)
        for model in (Asymmetric(k), Symmetric())
    )
    assert one == pytest.approx(other, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("k", "noise"), RATES)
@pytest.mark.parametrize("presentation", ["random", "by_gap"])
def test_the_risk_is_the_sum_over_orders_and_flips(
    k: float, noise: float, presentation: str
) -> None:
    """Both orders of every pair, written out: swapping the items negates y and g."""
    pairs, gap = make_pairs(300)
    model = Asymmetric(k, presentation)  # type: ignore[arg-type]
    rank = np.abs(pairs.gap).argsort().argsort()  # type: ignore[arg-type]
    total = 0.0
    for i, (y, g) in enumerate(zip(pairs.label, gap, strict=True)):
        positive = 0.5 if presentation == "random" else 1 - (rank[i] + 0.5) / len(gap)
        for presented, probability in ((1.0, positive), (-1.0, 1 - positive)):
            g_presented = g if presented == y else -g
            rate = noise * (1 + k) if presented == 1 else noise * (1 - k)
            total += probability * (1 - rate) * np.logaddexp(0, -presented * g_presented)
            total += probability * rate * np.logaddexp(0, presented * g_presented)
    found = expected_risk(Logistic(), gap, pairs, model, noise, seed=0)
    assert found == pytest.approx(total / len(gap), rel=1e-12)


@pytest.mark.parametrize("loss", [Logistic(), Sigmoid(), Ramp()], ids=str)
@pytest.mark.parametrize(("k", "noise"), RATES)
def test_lemma_1_fails_when_the_order_follows_the_pair(
    loss: MarginLoss, k: float, noise: float
) -> None:
    pairs, gap = make_pairs(2000)
    one, other = (
        expected_risk(loss, gap, pairs, model, noise, seed=0)
        for model in (Asymmetric(k, "by_gap"), Symmetric())
    )
    # wide pairs flip more often, and the model is most often right about them
    assert one > other + 1e-3


@pytest.mark.parametrize(
    "model",
    [Symmetric(), Asymmetric(-1), Asymmetric(-1, "by_gap"), InstanceDependent()],
    ids=["symmetric", "asymmetric", "by_gap", "instance_dependent"],
)
def test_drawn_labels_have_the_expected_risk(model: Symmetric | Asymmetric) -> None:
    n, noise = 200_000, 0.2
    pairs, gap = make_pairs(n)
    drawn = sampled_risk(Sigmoid(), gap, flip(model, noise, pairs, seed=0).noisy_label)
    # a sigmoid loss lies in [0, 1], so that its standard deviation is at most 1/2
    assert abs(drawn - expected_risk(Sigmoid(), gap, pairs, model, noise, 0)) < 2 / np.sqrt(n)


def test_randomly_assigned_annotators_are_symmetric_noise_in_expectation() -> None:
    pairs, gap = make_pairs(500)
    one, other = (
        expected_risk(Logistic(), gap, pairs, model, 0.3, seed=0)
        for model in (AnnotatorDependent(), Symmetric())
    )
    assert one == pytest.approx(other, rel=1e-9)
    by_topic = dataclasses.replace(pairs, annotator=(np.abs(gap) > 1).astype(np.uint64))
    named = expected_risk(Logistic(), gap, by_topic, AnnotatorDependent(None), 0.3, seed=0)
    assert abs(named - other) > 1e-3


def test_a_symmetric_loss_shrinks_towards_its_constant() -> None:
    """Under symmetric noise its risk is (1 - 2 e) R + e K."""
    pairs, gap = make_pairs(500)
    clean, noisy = (
        expected_risk(Ramp(), gap, pairs, Symmetric(), noise, seed=0) for noise in (0.0, 0.3)
    )
    assert noisy == pytest.approx(0.4 * clean + 0.3, rel=1e-12)
    assert clean == pytest.approx(float(Ramp()(torch.from_numpy(gap * pairs.label)).mean()))
