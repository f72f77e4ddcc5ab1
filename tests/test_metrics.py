import math

import pytest

from sympo.metrics import EPOCHS, HEADLINES, METRICS, bounds, figures, metric_of


def test_a_metric_is_declared_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    drawn = [figure.name for figure in figures()]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) >= {"accuracy_vs_noise", "win_rate_vs_kl", "reward_vs_digit"}
    assert list(EPOCHS) == ["last", "selected"]


def test_what_is_shown_is_titled_and_says_where_it_is_measured() -> None:
    for metric in METRICS:
        shown = bool(metric.figures or metric.panel)
        assert shown == bool(metric.where) and (bool(metric.title) or not shown)
        least, most = metric.written_range
        assert least < most and (metric.line is None or least < metric.line < most)
    assert "test/order_accuracy" in HEADLINES and "policy/win_rate" in HEADLINES


def test_metrics_are_found_by_the_last_part_of_their_path() -> None:
    found = metric_of("last/judge/gold (protocol=authors)/win_rate")
    assert (found.label, found.factor) == ("Win rate over the reference (%)", 100)
    assert metric_of("kl").written_range == (0, math.inf)  # estimates can be negative
    assert bounds("policy/kl")[0] == -math.inf
    unknown = metric_of("last/test/my_number")
    assert (unknown.label, unknown.factor) == ("last/test/my_number", 1)


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("test/order_accuracy", "Test pairwise accuracy (test/order_accuracy, %)"),
        ("policy/gold_reward", "Gold reward (policy/gold_reward)"),
        ("policy/tie_rate", "policy/tie_rate"),
        ("test/my_number", "test/my_number"),
    ],
)
def test_a_heading_holds_the_label_and_the_path(path: str, heading: str) -> None:
    assert metric_of(path).heading(path) == heading


def test_families_of_names_share_a_range() -> None:
    assert bounds("validation/my_accuracy") == (0, 1)
    assert bounds("test/order_accuracy_se") == (0, math.inf)
    assert bounds("train/loss") == (-math.inf, math.inf)
