"""Claims: planted data reach every outcome, and null data support a claim in at most 5%."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sympo.analysis import Collection
from sympo.analysis.claim_rules import LEVEL, Evidence, outcomes, p_values
from sympo.analysis.claims import DecidedClaims, decide_claims
from sympo.analysis.intervals import Spread, holm
from sympo.report_settings import ReportSettings
from tests.analysis.planted import around, planted

EXPERIMENTS = 1000
SPEARMAN = {"claim": "A claim", "source": "Lemma 1", "metric": "last/test/spearman"}


def asked(size: str = "full", **claim: Any) -> ReportSettings:
    sides = {"a": {"loss": "ramp"}, "b": {"loss": "logistic"}}
    return ReportSettings.of({"claims": [SPEARMAN | sides | claim]}, size)


def two_losses(
    *differences: tuple[float, float], metric: str = "last/test/spearman", seeds: int = 5
) -> Collection:
    """ramp - logistic with these means and standard deviations at noise 0, 0.1, ..."""
    gaps = [around(mean, sd) for mean, sd in differences]

    def value(loss: str, noise: float, seed: int, noise_model: str) -> float:
        return 0.1 * seed + (gaps[round(10 * noise)](seed) if loss == "ramp" else 0.0)

    rates = [place / 10 for place in range(len(gaps))]
    return planted(value, metric, seeds, loss=["ramp", "logistic"], noise=rates)


def only(found: DecidedClaims) -> pd.Series:
    (row,) = found.claims.to_dict("records")
    return pd.Series(row)


@pytest.mark.parametrize(
    ("kind", "margin", "differences", "outcome", "said"),
    [
        ("greater", 0, [(0.05, 0.01), (0.03, 0.01)], "supported",
         "of 2 comparisons over noise, all are above 0; smallest difference 0.03 at noise 0.1"),
        ("greater", 0, [(0.05, 0.01), (-0.03, 0.01)], "contradicted",
         "of 2 comparisons over noise, 1 is below 0; smallest difference -0.03 at noise 0.1"),
        ("greater", 0, [(0.05, 0.01), (0.01, 0.03)], "undecided",
         "1 is shown to be above 0 and none to be below; smallest difference 0.01 at noise 0.1"),
        ("greater", 0.02, [(0.05, 0.01), (0.045, 0.01)], "supported", "all are above 0.02;"),
        ("greater", 0.02, [(0.05, 0.01), (0.001, 0.01)], "contradicted", "1 is below 0.02;"),
        ("greater", 0.02, [(0.02, 0.01)], "undecided",
         "the difference is not shown to be above or below 0.02: 0.02 (90% interval"),
        ("equal", 0.02, [(0.005, 0.005), (-0.01, 0.005)], "supported",
         "all lie within 0.02; largest difference -0.01 at noise 0.1 (90% interval -0.01"),
        ("equal", 0.02, [(0.05, 0.005), (-0.07, 0.005), (0.0, 0.005)], "contradicted",
         "2 exceed 0.02; largest difference -0.07 at noise 0.1"),
        ("equal", 0.02, [(0.01, 0.05), (0.0, 0.005)], "undecided",
         "1 is shown to lie within 0.02 and none to exceed it; largest difference 0.01"),
        ("equal", 0.02, [(0.0, 0.0)], "supported", "the difference lies within 0.02: 0 (90%"),
    ],
)  # fmt: skip
def test_planted_data_reach_every_outcome(
    kind: str, margin: float, differences: list[tuple[float, float]], outcome: str, said: str
) -> None:
    found = decide_claims(two_losses(*differences), asked(kind=kind, margin=margin, over=["noise"]))
    row = only(found)
    begin = {"undecided": "Undecided at this size"}.get(outcome, outcome.title())
    assert row["outcome"] == outcome
    assert found.sentences == [row["sentence"]]
    assert row["sentence"].startswith(f"{begin}: A claim (Lemma 1): ")
    assert said in row["sentence"] and row["sentence"].endswith(", 5 seeds.")
    assert (row["comparisons"], row["seeds"]) == (len(differences), 5)


def test_numbers_are_those_of_a_paired_t_test() -> None:
    found = decide_claims(
        two_losses((0.05, 0.02), (0.03, 0.03)), asked(kind="greater", over=["noise"])
    )
    first = found.comparisons.iloc[0]
    gaps = [around(0.05, 0.02)(seed) for seed in range(5)]
    assert first["difference"] == pytest.approx(0.05)
    assert first["p"] == pytest.approx(stats.ttest_1samp(gaps, 0, alternative="greater").pvalue)
    assert first["p_against"] == pytest.approx(1 - first["p"])
    for level, ends in ((0.95, ("low", "high")), (0.9, ("low_90", "high_90"))):
        expected = stats.t.interval(level, 4, loc=0.05, scale=0.02 / np.sqrt(5))
        assert first[list(ends)].tolist() == pytest.approx(expected)
    adjusted = multipletests(found.comparisons["p"], method="holm")[1]
    assert found.comparisons["p_holm"].tolist() == pytest.approx(adjusted.tolist())
    assert found.comparisons["noise"].tolist() == [0, 0.1]


def test_percentages_are_points() -> None:
    cells = two_losses((0.05, 0.01), metric="last/test/order_accuracy")
    claim = asked(kind="greater", margin=0.01, metric="last/test/order_accuracy")
    (said,) = decide_claims(cells, claim).sentences
    assert "the difference is above 1 point: 5.0 points (90% interval 4.0 to 6.0)" in said


@pytest.mark.parametrize(("seeds", "outcome"), [(1, "none"), (2, "none"), (3, "supported")])
def test_few_seeds_give_no_outcome(seeds: int, outcome: str) -> None:
    found = decide_claims(two_losses((0.5, 0.01), seeds=seeds), asked(kind="greater"))
    assert only(found)["outcome"] == outcome
    if outcome == "none":
        assert f"rests on {seeds} shared seed" in found.sentences[0]
        assert found.comparisons["outcome"].tolist() == ["none"]
    else:
        assert found.sentences[0].endswith("3 seeds, fewer than the 5 of a full result.")


def test_smaller_sizes_give_numbers_but_no_outcome() -> None:
    found = decide_claims(two_losses((0.05, 0.01)), asked("small", kind="greater"))
    assert found.sentences == [
        "No outcome of any claim: size=small is too small to be the basis of one."
    ]
    assert only(found)["outcome"] == "none"
    assert found.comparisons["difference"].tolist() == [pytest.approx(0.05)]


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ({"b": {"loss": "ipo"}}, "no cell here is b (loss=ipo) with a test/spearman"),
        ({"b": {"loss": ["ramp", "logistic"]}}, "some cells are both a and b"),
        ({}, "cells of one seed differ in noise, which the claim leaves open"),
        ({"a": {"loss": "ramp", "noise": 0}, "b": {"loss": "logistic", "noise": 0.1},
          "over": ["noise"]}, "a and b have no noise in common"),
        ({"a": {"dataset.train_pairs": 5}}, "no cell here is a (dataset.train_pairs=5)"),
        ({"where": {"noise": 0.4}}, "no cell here is a (loss=ramp)"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(claim: dict[str, Any], why: str) -> None:
    found = decide_claims(two_losses((0.05, 0.01), (0.05, 0.01)), asked(kind="greater", **claim))
    assert why in found.sentences[0] and found.sentences[0].startswith("No outcome: A claim")
    assert only(found)["comparisons"] == 0


@pytest.mark.parametrize(
    ("lost", "where", "why"),
    [
        ([("ramp", 0.1)], {}, "no cell here has a test/spearman for a at noise 0.1"),
        ([("logistic", 0.1)], {}, "for b at noise 0.1"),
        ([("logistic", 0.1), ("ramp", 0.1)], {"noise": [0, 0.1]}, "for noise=0.1"),
        ([], {"noise": [0, 0.1, 0.4]}, "for noise=0.4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_family_that_lost_comparisons_has_no_outcome(
    lost: list[tuple[str, float]], where: dict[str, Any], why: str, number: float
) -> None:
    found = two_losses((0.05, 0.01), (0.05, 0.01))
    for loss, noise in lost:
        gone = (found.cells["loss"] == loss) & (found.cells["noise"] == noise)
        found.cells.loc[gone, "last/test/spearman"] = number
    row = only(decide_claims(found, asked(kind="greater", over=["noise"], where=where)))
    assert row["outcome"] == "none" and f"{why}." in row["sentence"]
    assert row["comparisons"] == 2 - bool(lost)  # their numbers are in the tables


def test_epochs_noise_models_and_settings_can_be_compared() -> None:
    def value(noise_model: str, seed: int, **rest: Any) -> float:
        gain = around(0.3, 0.01)(seed) * (rest["dataset.train_pairs"] == 2000)
        return 0.1 * seed + gain + around(0.001, 0.002)(seed) * (noise_model == "symmetric")

    sizes = {"dataset.train_pairs": [500, 2000]}
    cells = planted(value, noise_model=["asymmetric", "symmetric"], **sizes)
    last = cells.cells["last/test/spearman"]
    cells.cells["selected/test/spearman"] = last - [
        around(0.1, 0.01)(seed) for seed in [*range(5)] * 4
    ]
    models = {"a": {"noise_model": "symmetric"}, "b": {"noise_model": "asymmetric"}}
    size = {"a": {"dataset.train_pairs": 2000}, "b": {"dataset.train_pairs": 500}}
    epochs = {"a": {"epoch": "last"}, "b": {"epoch": "selected"}}
    both = ["noise_model", "dataset.train_pairs"]
    for claim, differences, outcome in (
        ({**models, "over": both[1:]}, [0.001] * 2, "supported"),
        ({**size, "over": both[:1]}, [0.3] * 2, "contradicted"),
        ({**epochs, "over": both}, [0.1] * 4, "contradicted"),
    ):
        found = decide_claims(cells, asked(kind="equal", margin=0.02, **claim))
        assert found.comparisons["difference"].tolist() == pytest.approx(differences)
        assert only(found)["outcome"] == outcome
    assert found.comparisons[both].drop_duplicates().shape == (4, 2)
    assert only(found)["at"].endswith(("train_pairs=500", "train_pairs=2000"))


def spread_of(values: np.ndarray, items: float = np.nan) -> tuple[np.ndarray, Spread]:
    """Means and spread of differences; values: (..., seeds)."""
    n, mean = values.shape[-1], values.mean(-1)
    full = np.ones_like(mean)
    variance = values.var(-1, ddof=1) / n
    return mean, Spread((full * n).astype(int), variance, 0 * full, items * full)


def rates(kind: str, truth: np.ndarray, margin: float, items: float = np.nan) -> dict[str, float]:
    """How often simulated families of differences around these true ones have each outcome."""
    draw = np.random.default_rng(15)
    values = truth[:, None] + 0.02 * draw.normal(size=(EXPERIMENTS, len(truth), 5))
    mean, spread = spread_of(values, items)
    p, against = p_values(kind, mean, spread, margin)  # type: ignore[arg-type]
    found = outcomes(p, holm(against))
    return {name: float((found == name).mean()) for name in ("supported", "contradicted")}


@pytest.mark.parametrize("comparisons", [2, 12])
@pytest.mark.parametrize(
    ("kind", "margin", "at_the_boundary", "inside"),
    [("greater", 0.0, 0.0, 0.2), ("greater", 0.02, 0.02, 0.2), ("equal", 0.02, 0.02, 0.0)],
)
def test_null_families_are_falsely_supported_in_at_most_5_percent(
    kind: str, margin: float, at_the_boundary: float, inside: float, comparisons: int
) -> None:
    # the worst null: one comparison at the boundary, the others clearly as claimed
    one = np.array([at_the_boundary, *[inside] * (comparisons - 1)])
    every = np.full(comparisons, at_the_boundary)
    limit = LEVEL + 2.33 * np.sqrt(LEVEL * (1 - LEVEL) / EXPERIMENTS)  # 99% of exact tests
    for truth in (one, every):
        assert rates(kind, truth, margin)["supported"] <= limit
    # with as many items as make their variance that of training, tests are stricter than 5%
    assert rates(kind, one, margin, items=0.02**2 / 5)["supported"] <= LEVEL
    assert rates(kind, every, margin)["supported"] <= LEVEL


@pytest.mark.parametrize(("kind", "truth"), [("greater", 0.02), ("equal", 0.02), ("equal", -0.02)])
def test_true_families_are_falsely_contradicted_in_at_most_5_percent(
    kind: str, truth: float
) -> None:
    found = rates(kind, np.full(12, truth), 0.02)
    assert found["contradicted"] <= LEVEL + 2.33 * np.sqrt(LEVEL * (1 - LEVEL) / EXPERIMENTS)


def test_clear_differences_are_found() -> None:
    assert rates("greater", np.full(4, 0.1), 0.0)["supported"] > 0.95
    assert rates("greater", np.array([0.1, -0.1]), 0.0)["contradicted"] > 0.95
    assert rates("equal", np.zeros(4), 0.1)["supported"] > 0.95
    assert rates("equal", np.full(4, 0.1), 0.02)["contradicted"] > 0.95


def test_equal_seeds_without_items_count_by_the_sign_test() -> None:
    mean, spread = spread_of(np.zeros((1, 5)))
    tests = Evidence.of("equal", mean, spread, 1e-6)
    assert tests.p.tolist() == [0.5**5] and tests.outcome == "supported"
    mean, spread = spread_of(np.zeros((1, 4)))
    assert Evidence.of("equal", mean, spread, 1e-6).outcome == "undecided"
    # known items bound the difference, however much the seeds agree
    mean, spread = spread_of(np.zeros((1, 5)), items=0.01**2)
    assert Evidence.of("equal", mean, spread, 0.015).outcome == "undecided"
    assert Evidence.of("equal", mean, spread, 0.02).outcome == "supported"


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_holm_is_that_of_statsmodels(size: int) -> None:
    draw = np.random.default_rng(size)
    for p in (draw.random(size), draw.random(size) ** 4, np.full(size, 0.03), np.ones(size)):
        expected = multipletests(p, method="holm")[1]
        assert holm(p) == pytest.approx(expected)
        with_gaps = np.insert(p, size // 2, np.nan)
        assert np.delete(holm(with_gaps), size // 2) == pytest.approx(expected)
        assert np.isnan(holm(with_gaps)[size // 2])
    families = draw.random((3, size))
    assert holm(families) == pytest.approx(np.stack([holm(family) for family in families]))
