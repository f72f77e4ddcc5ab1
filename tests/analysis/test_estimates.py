import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import write_run, write_sweep

from sympo.analysis import Collection, curve_estimates, differences, reward_by_item, summarise
from sympo.analysis.estimates import t_half_width

METRIC = "last/test/order_accuracy"


def collect(runs) -> Collection:
    return Collection.from_runs(runs)


def test_t_interval_by_hand(tmp_path):
    for seed, accuracy in enumerate([0.7, 0.8, 0.9]):
        write_run(tmp_path, seed=seed, accuracy=accuracy)
    (row,) = summarise(collect(tmp_path).cells, METRIC).to_dict("records")
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert row["mean"] == pytest.approx(0.8)
    assert (row["low"], row["high"]) == pytest.approx((0.8 - half, 0.8 + half), abs=1e-7)
    assert (row["n_seeds"], row["interval"], row["missing"]) == (3, "student_t", 0)


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_covers(n):
    seeds = np.random.default_rng(0).normal(size=(20_000, n))
    half = t_half_width(seeds.std(axis=1, ddof=1), n)
    assert 0.93 < np.mean(np.abs(seeds.mean(axis=1)) < half) < 0.97


def test_one_seed_has_an_interval_over_test_pairs(tmp_path):
    write_run(tmp_path, accuracy=0.8)
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert row["interval"] == "test_pairs"
    assert row["high"] - row["mean"] == pytest.approx(1.959964 * 0.007)


def test_one_seed_without_standard_error_has_no_interval(tmp_path):
    write_run(tmp_path, metrics={"policy/win_rate": 0.6})
    row = summarise(collect(tmp_path).cells, "last/policy/win_rate").iloc[0]
    assert row["interval"] == "none"
    assert np.isnan(row["low"])


def test_agreeing_seeds_have_zero_width(tmp_path):
    for seed in range(3):
        write_run(tmp_path, seed=seed, accuracy=0.75)
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert row["low"] == row["mean"] == row["high"] == 0.75


def test_missing_cells_of_the_grid_are_counted(tmp_path):
    absent = [("ramp", 0.1, 0), ("ramp", 0.3, 0), ("ramp", 0.3, 1)]
    write_sweep(tmp_path, {"ramp": None, "hinge": None}, [0.1, 0.3], [0, 1], missing=absent)
    table = summarise(collect(tmp_path).cells, METRIC).set_index(["loss", "noise"])
    assert table["missing"].to_dict() == {
        ("hinge", 0.1): 0,
        ("hinge", 0.3): 0,
        ("ramp", 0.1): 1,
        ("ramp", 0.3): 2,
    }
    assert np.isnan(table.loc[("ramp", 0.3), "mean"])


def test_unfinished_runs_beyond_the_grid_are_missing_too(tmp_path):
    write_sweep(tmp_path, {"ramp": None}, [0.1, 0.3], [0, 1], missing=[("ramp", 0.1, 1)])
    write_run(tmp_path, loss="ramp", noise=0.1, seed=1, complete=False)  # a hole of the grid
    write_run(tmp_path, loss="square", noise=0.1, seed=0, complete=False)
    write_run(tmp_path, loss="ramp", noise=0.4, seed=0, complete=False)
    collection = collect(tmp_path)
    table = summarise(collection.cells, METRIC, collection.incomplete)
    missing = table.set_index(["loss", "noise"])["missing"]
    assert missing[missing > 0].to_dict() == {
        ("ramp", 0.1): 1,
        ("ramp", 0.4): 1,
        ("square", 0.1): 1,
    }


def test_a_diverged_cell_is_missing_not_averaged(tmp_path):
    write_run(tmp_path, seed=0, accuracy=0.8)
    write_run(tmp_path, seed=1, accuracy=float("nan"))
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert (row["n_seeds"], row["missing"], row["mean"]) == (1, 1, 0.8)


def test_configs_that_differ_are_never_pooled(tmp_path):
    for epochs in (10, 30):
        write_run(tmp_path, epochs=epochs, accuracy=epochs / 100)
    table = summarise(collect(tmp_path).cells, METRIC)
    assert table[["job.epochs", "mean", "n_seeds"]].to_numpy().tolist() == [
        [10, 0.1, 1],
        [30, 0.3, 1],
    ]


def test_variants_of_a_loss(tmp_path):
    write_sweep(tmp_path / "fixed", {"cdpo": 0.1}, [0.1, 0.3], [0])
    write_sweep(tmp_path / "fixed", {"cdpo": 0.2, "ramp": None}, [0.1, 0.3], [0])
    write_sweep(tmp_path / "oracle", {"cdpo": "true"}, [0.1, 0.3], [0])
    fixed = summarise(collect(tmp_path / "fixed").cells, METRIC)
    oracle = summarise(collect(tmp_path / "oracle").cells, METRIC)
    assert fixed["variant"].unique().tolist() == [
        "cdpo (assumed_rate=0.1)",
        "cdpo (assumed_rate=0.2)",
        "ramp",
    ]
    assert fixed["oracle"].tolist() == [True, False, False, False, False, False]
    assert oracle["variant"].unique().tolist() == ["cdpo (oracle)"]
    assert oracle["oracle"].all()


def test_paired_differences(tmp_path):
    values = {"hinge": [0.7, 0.8, 0.6], "ramp": [0.75, 0.83, 0.67]}
    for loss, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            write_run(tmp_path, loss=loss, seed=seed, accuracy=accuracy)
    write_run(tmp_path, loss="ramp", seed=3, accuracy=0.1)  # without a partner
    (row,) = differences(collect(tmp_path).cells, METRIC).to_dict("records")
    expected = stats.ttest_rel(values["hinge"], values["ramp"])
    assert (row["a"], row["b"], row["n_seeds"]) == ("hinge", "ramp", 3)
    assert row["difference"] == pytest.approx(-0.05)
    assert row["p"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))


def test_differences_of_one_seed_or_of_equal_runs(tmp_path):
    for noise, seeds in ((0.1, 1), (0.3, 2)):
        for loss in ("hinge", "ramp"):
            for seed in range(seeds):
                write_run(tmp_path, loss=loss, noise=noise, seed=seed, accuracy=0.5)
    one, equal = differences(collect(tmp_path).cells, METRIC).to_dict("records")
    assert (one["n_seeds"], one["difference"]) == (1, 0.0)
    assert np.isnan([one["low"], one["high"], one["p"]]).all()
    assert (equal["low"], equal["high"], equal["p"]) == (0.0, 0.0, 1.0)


def test_curves_have_an_interval_per_epoch(tmp_path):
    absent = [("ramp", 0.1, 0), ("hinge", 0.3, 0), ("hinge", 0.3, 1)]
    write_sweep(tmp_path, {"ramp": None, "hinge": None}, [0.1, 0.3], [0, 1], missing=absent)
    table = curve_estimates(collect(tmp_path).curves, "test/order_accuracy")
    ramp = table[(table["loss"] == "ramp") & (table["noise"] == 0.1)]
    assert (ramp["n_seeds"].unique(), ramp["missing"].unique()) == ([1], [1])
    (lost,) = table[table["n_seeds"] == 0].to_dict("records")
    assert (lost["loss"], lost["noise"], lost["missing"]) == ("hinge", 0.3, 2)


def test_a_metric_that_is_undefined_somewhere_is_not_missing(tmp_path):
    write_sweep(tmp_path, {"ramp": None}, [0.0, 0.3], [0, 1])
    table = curve_estimates(collect(tmp_path).curves, "train/flipped_memorised")
    assert table["noise"].unique().tolist() == [0.3]
    assert table["missing"].sum() == 0


def test_rewards_do_not_depend_on_shift_and_scale(tmp_path):
    for seed in range(3):
        write_run(tmp_path, seed=seed)
    digits = np.arange(10)
    rewards = {f"last/test/reward_mean/{k}": [k, 5 + 0.01 * k, 40 * k - 3] for k in digits}
    table = reward_by_item(collect(tmp_path).cells.assign(**rewards))
    np.testing.assert_allclose(table["mean"], (digits - 4.5) / digits.std())
    np.testing.assert_allclose(table["high"], table["low"])


def test_nothing_measured_gives_an_empty_table(tmp_path):
    write_run(tmp_path)
    table = summarise(collect(tmp_path).cells, "last/policy/win_rate")
    assert isinstance(table, pd.DataFrame)
    assert table.empty
