"""Agreement with labels by hand, and the difference that it resolves by simulation."""

import numpy as np
import pytest

from sympo.evaluation.label_agreement import JudgedLabels, label_agreement, resolvable, table
from sympo.types import BadInput


def judged(
    score: list[float], apart: list[float] | None = None, subset: list[str] | None = None
) -> JudgedLabels:
    """One pair per prompt, shown in both orders; a tie is a judge that takes the first twice."""
    n = len(score)
    both = {1.0: (1.0, 0.0), 0.0: (0.0, 1.0), 0.5: (1.0, 1.0)}
    choice = [c for s in score for c in both.get(s, (np.nan, 1.0))]
    return JudgedLabels(
        score=np.array(score, dtype=float),
        apart=np.array(apart or range(n), dtype=float),
        prompt=np.array([f"p{i}" for i in range(n)]),
        subset=np.array(subset or [""] * n),
        choice=np.array(choice),
        shown=np.repeat(np.arange(n), 2),
    )


def test_agreement_by_hand() -> None:
    # 6 agree, 2 disagree, 2 ties, 2 invalid
    scores = [1.0] * 6 + [0.0] * 2 + [0.5] * 2 + [np.nan] * 2
    apart = [5, 5, 5, -5, -5, 0, 5, -5, 0, 5, 5, 5]
    row = label_agreement(judged(scores, apart))[0]
    assert (row["by"], row["group"], row["pairs"], row["prompts"]) == ("all", "all", 12, 12)
    assert row["agreement"] == pytest.approx(0.7)
    assert 0.35 < float(row["agreement_low"]) < 0.7 < float(row["agreement_high"]) < 0.95
    assert row["tie_rate"] == pytest.approx(0.2)
    assert row["invalid_rate"] == pytest.approx(2 / 12)
    # each tie took the first twice; of an invalid pair one verdict was read, for the first
    assert row["first_shown_wins"] == pytest.approx((8 + 4 + 2) / 22)
    assert row["longer_chosen"] == pytest.approx((7 + 2 * 0.5) / 12)
    # longer chosen and scored: 3 of 1, 0, a tie; shorter chosen: 2 of 0, a 1
    assert row["prefers_longer"] == pytest.approx((3 + 0 + 0.5 + 0 + 0 + 1) / 8)


def test_interval_covers_the_agreement_of_a_judge() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(16):
        scores = (draw.random(200) < 0.7).astype(float).tolist()
        row = label_agreement(judged(scores))[0]
        covered += float(row["agreement_low"]) <= 0.7 <= float(row["agreement_high"])
    assert covered >= 14


def test_groups_are_subsets_and_terciles_of_length() -> None:
    scores = [0.0] * 10 + [0.5] * 10 + [1.0] * 10
    apart = list(np.arange(-15, 15) * 2.0)
    rows = label_agreement(judged(scores, apart, ["help", "harm"] * 15))
    assert [(row["by"], row["group"], row["pairs"]) for row in rows] == [
        ("all", "all", 30),
        ("subset", "harm", 15),
        ("subset", "help", 15),
        ("length", "length difference -30 to -12", 10),
        ("length", "length difference -10 to +8", 10),
        ("length", "length difference +10 to +28", 10),
    ]
    assert [row["agreement"] for row in rows[3:]] == [0.0, 0.5, 1.0]


def test_one_length_and_one_subset_have_no_groups() -> None:
    rows = label_agreement(judged([1.0, 0.0, 1.0], [0.0, 0.0, 0.0], ["a", "a", "a"]))
    assert [row["by"] for row in rows] == ["all"]
    assert np.isnan(float(rows[0]["prefers_longer"])) and rows[0]["longer_chosen"] == 0.5
    assert table(rows).splitlines()[1].endswith("50.0%          -")


def test_resolvable_by_hand() -> None:
    # (1.96 + 0.8416) sqrt(1 / 2048) / 0.4
    assert resolvable(0.7, 1024) == pytest.approx(2.8016 / np.sqrt(2048) / 0.4, rel=1e-4)
    assert resolvable(1.0, 1024) == pytest.approx(0.0619, abs=1e-4)
    assert resolvable(0.5, 1024) == resolvable(0.3, 10**6) == np.inf
    for agreement, prompts in ((1.1, 10), (0.7, 0)):
        with pytest.raises(BadInput, match="must be"):
            resolvable(agreement, prompts)


def test_a_difference_that_is_resolved_is_found_with_80_percent_power() -> None:
    draw = np.random.default_rng(0)
    agreement, n, tries = 0.75, 1024, 4000
    difference = resolvable(agreement, n)
    wins = []
    for rate in (0.5 - difference / 2, 0.5 + difference / 2):
        true = draw.random((tries, n)) < rate
        wins.append((true == (draw.random((tries, n)) < agreement)).mean(axis=1))
    errors = np.sqrt(sum(won * (1 - won) / n for won in wins))
    found = np.abs(wins[1] - wins[0]) > 1.96 * errors
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_the_table_names_what_cannot_be_resolved() -> None:
    text = table(label_agreement(judged([1.0, 0.0] * 100)))
    assert "256 prompts each: none (" in text and "to none)" in text
