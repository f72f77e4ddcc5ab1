from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sympo.analysis import (
    Collection,
    against_kl,
    curve_estimates,
    differences,
    reward_by_item,
    summarise,
)
from sympo.analysis.training_plots import reward_vs_digit
from tests.analysis.synthetic import write_policy_sweep, write_run, write_sweep

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


def test_one_seed_has_an_interval_over_test_pairs(tmp_path):
    write_run(tmp_path, accuracy=0.8)
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert row["interval"] == "test_pairs"
    assert row["high"] - row["mean"] == pytest.approx(1.959964 * 0.007)


WIN = {"policy/win_rate": 0.6, "policy/win_rate_se": 0.02}
BOOTSTRAP = {"policy/win_rate_low": 0.55, "policy/win_rate_high": 0.63}


def test_one_seed_prefers_the_bootstrap_interval_over_its_prompts(tmp_path):
    write_run(tmp_path, noise=0.1, metrics=WIN | BOOTSTRAP)
    write_run(tmp_path, noise=0.3, metrics=WIN)
    bootstrap, normal = summarise(collect(tmp_path).cells, "last/policy/win_rate").to_dict(
        "records"
    )
    assert (bootstrap["interval"], normal["interval"]) == ("bootstrap_prompts", "prompts")
    assert (bootstrap["low"], bootstrap["high"]) == (0.55, 0.63)
    half = 1.959964 * 0.02
    assert (normal["low"], normal["high"]) == pytest.approx((0.6 - half, 0.6 + half))


def test_the_interval_over_prompts_is_of_the_seed_that_has_a_value(tmp_path):
    write_run(tmp_path, seed=0, metrics=WIN | BOOTSTRAP)
    diverged = {"policy/win_rate": None, "policy/win_rate_low": 0.0, "policy/win_rate_high": 0.1}
    write_run(tmp_path, seed=1, metrics=diverged)
    row = summarise(collect(tmp_path).cells, "last/policy/win_rate").iloc[0]
    assert (row["n_seeds"], row["missing"]) == (1, 1)
    assert (row["low"], row["high"]) == (0.55, 0.63)


def test_several_seeds_have_no_use_for_the_interval_over_prompts(tmp_path):
    for seed, rate in enumerate([0.5, 0.6, 0.7]):
        write_run(tmp_path, seed=seed, metrics=WIN | BOOTSTRAP | {"policy/win_rate": rate})
    row = summarise(collect(tmp_path).cells, "last/policy/win_rate").iloc[0]
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert row["interval"] == "student_t"
    assert (row["low"], row["high"]) == pytest.approx((0.6 - half, 0.6 + half), abs=1e-7)


def test_one_seed_without_standard_error_has_no_interval(tmp_path):
    write_run(tmp_path, metrics={"policy/win_rate": 0.6})
    row = summarise(collect(tmp_path).cells, "last/policy/win_rate").iloc[0]
    assert row["interval"] == "none"
    assert np.isnan(row["low"])


def test_agreeing_seeds_have_the_interval_of_their_test_pairs(tmp_path):
    for seed in range(3):
        write_run(tmp_path, seed=seed, accuracy=0.75)
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert row["high"] - row["mean"] == pytest.approx(1.959964 * 0.007 / np.sqrt(3))


def test_nothing_but_ties_has_no_interval(tmp_path):
    tied = {"test/order_accuracy": 0.5, "test/order_accuracy_se": 0.0, "test/tie_rate": 1.0}
    write_run(tmp_path, metrics=tied)
    row = summarise(collect(tmp_path).cells, METRIC).iloc[0]
    assert (row["mean"], row["tie_rate"], row["interval"]) == (0.5, 1.0, "none")
    assert np.isnan([row["low"], row["high"]]).all()


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
    # nothing varies, and nothing is known of the test pairs: neither an interval nor a p
    assert (equal["n_seeds"], equal["difference"]) == (2, 0.0)
    assert np.isnan([equal["low"], equal["high"], equal["p"]]).all()


def test_equal_differences_have_the_interval_of_their_test_pairs_and_no_p(tmp_path):
    draw = np.random.default_rng(0)
    for seed in range(3):
        ramp = (draw.random(1000) < 0.8).astype(float)
        hinge = ramp.copy()
        # right on 40 pairs that hinge gets wrong, wrong on 20 that it gets right, at every seed
        hinge[np.flatnonzero(ramp == 1)[:40]] = 0
        hinge[np.flatnonzero(ramp == 0)[:20]] = 1
        for loss, scores in (("ramp", ramp), ("hinge", hinge)):
            write_run(tmp_path, loss=loss, seed=seed, scores=scores)
    collection = collect(tmp_path)
    (row,) = differences(collection.cells, METRIC, collection.outcomes).to_dict("records")
    assert row["difference"] == pytest.approx(-0.02)
    half = 1.959964 * np.sqrt((60 / 1000 - 0.02**2) / 1000 / 3)
    assert row["high"] - row["difference"] == pytest.approx(half)
    assert np.isnan(row["p"])


def test_outcomes_make_the_interval_of_one_seed_and_of_several(tmp_path):
    draw = np.random.default_rng(0)
    for seed in range(3):
        write_run(tmp_path, seed=seed, scores=(draw.random(400) < 0.8).astype(float))
    write_run(tmp_path, noise=0.3, scores=(draw.random(400) < 0.7).astype(float))
    collection = collect(tmp_path)
    several, one = summarise(collection.cells, METRIC, outcomes=collection.outcomes).to_dict(
        "records"
    )
    assert (several["interval"], one["interval"]) == ("seeds_and_items", "test_pairs")
    # here the shares of three seeds differ by chance alone, by 2 points each
    assert several["high"] - several["mean"] >= 1.959964 * 0.02 / np.sqrt(3) * 0.9
    assert one["high"] - one["mean"] == pytest.approx(
        1.959964 * np.sqrt(one["mean"] * (1 - one["mean"]) / 400), rel=1e-6
    )


def test_one_loss_without_outcomes_leaves_the_others_theirs(tmp_path):
    draw = np.random.default_rng(0)
    for seed in range(3):
        for loss in ("hinge", "ramp", "sigmoid"):
            scores = (draw.random(400) < 0.8).astype(float)
            missing = (loss, seed) == ("sigmoid", 1)
            write_run(tmp_path, loss=loss, seed=seed, scores=None if missing else scores)
    collection = collect(tmp_path)
    table = summarise(collection.cells, METRIC, outcomes=collection.outcomes)
    kinds = dict(zip(table["loss"], table["interval"], strict=True))
    both = "seeds_and_items"
    assert kinds == {"hinge": both, "ramp": both, "sigmoid": "student_t"}
    paired = differences(collection.cells, METRIC, collection.outcomes)
    alone = collection.cells["loss"] != "sigmoid"
    by_itself = differences(collection.cells[alone], METRIC, collection.outcomes)
    # p_holm depends on the number of pairs
    alone = [frame.iloc[0].drop("p_holm") for frame in (paired, by_itself)]
    assert alone[0].equals(alone[1])


def test_curves_have_an_interval_per_epoch(tmp_path):
    absent = [("ramp", 0.1, 0), ("hinge", 0.3, 0), ("hinge", 0.3, 1)]
    write_sweep(tmp_path, {"ramp": None, "hinge": None}, [0.1, 0.3], [0, 1], missing=absent)
    table = curve_estimates(collect(tmp_path).curves, "test/order_accuracy")
    ramp = table[(table["loss"] == "ramp") & (table["noise"] == 0.1)]
    assert (ramp["n_seeds"].unique(), ramp["missing"].unique()) == ([1], [1])
    (lost,) = table[table["n_seeds"] == 0].to_dict("records")
    assert (lost["loss"], lost["noise"], lost["missing"]) == ("hinge", 0.3, 2)


def policy(runs, seed, kl, win) -> None:
    """A cell with an evaluation per quarter of an epoch."""
    history = [
        {
            "epoch": 0.25 * step,
            "policy/kl": nats,
            "policy/win_rate": rate,
            "validation/noisy_accuracy": 0.5,
        }
        for step, (nats, rate) in enumerate(zip(kl, win, strict=True))
    ]
    write_run(runs, job="policy", seed=seed, history=history)


def test_win_rates_against_kl_by_hand(tmp_path):
    policy(tmp_path, 0, kl=[0.0, 2.0, 8.0], win=[0.5, 0.7, 0.8])
    policy(tmp_path, 1, kl=[0.0, 4.0, 6.0], win=[0.5, 0.8, 0.6])
    table = against_kl(collect(tmp_path).curves, "policy/win_rate")
    assert table["epoch"].tolist() == [0, 0.25, 0.5]
    assert table["kl"].tolist() == [0, 3, 7]
    assert table["mean"].tolist() == pytest.approx([0.5, 0.75, 0.7])
    half = 12.7062047 * np.sqrt(2) / np.sqrt(2)  # t of one degree, sd of 8 and 6 (or 2 and 4)
    assert table["kl_low"].tolist()[1:] == pytest.approx([3 - half, 7 - half])
    assert table["kl_high"].tolist()[1:] == pytest.approx([3 + half, 7 + half])
    assert table["kl_interval"].tolist() == ["none", "student_t", "student_t"]


def test_win_rate_and_kl_are_means_over_the_same_cells(tmp_path):
    policy(tmp_path, 0, kl=[0.0, 2.0], win=[0.5, 0.7])
    policy(tmp_path, 1, kl=[0.0, float("nan")], win=[0.5, 0.9])
    policy(tmp_path, 2, kl=[0.0, 40.0], win=[0.5, None])
    last = against_kl(collect(tmp_path).curves, "policy/win_rate").iloc[-1]
    assert (last["kl"], last["mean"], last["n_seeds"]) == (2.0, 0.7, 1)


def test_nothing_against_kl_where_it_was_not_measured(tmp_path):
    write_run(tmp_path / "reward_models")
    assert against_kl(collect(tmp_path / "reward_models").curves, "policy/win_rate").empty
    write_policy_sweep(tmp_path / "text", {"ramp": None}, [0.1], [0], gold=False)
    assert against_kl(collect(tmp_path / "text").curves, "policy/win_rate").empty


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


def test_each_data_set_has_true_rewards_of_its_own(tmp_path):
    for dataset in ("digits", "made"):
        write_run(tmp_path, dataset=dataset)
    cells = collect(tmp_path).cells.sort_values("dataset")
    cells = cells.drop(columns=[name for name in cells.columns if "/reward_mean/" in name])
    values = {-1.5: (np.nan, 1.0), 0: (3.0, np.nan), 0.25: (np.nan, 2.0), 1: (5.0, 4.0)}
    cells = cells.assign(**{f"last/test/reward_mean/{k}": v for k, v in values.items()})
    table = reward_by_item(cells)
    assert table.loc[table["dataset"] == "digits", "item"].tolist() == [0, 1]
    own = table[table["dataset"] == "made"]
    assert own["item"].tolist() == [-1.5, 0.25, 1]
    np.testing.assert_allclose(own["mean"], np.array([-4, -1, 5]) / np.sqrt(14))
    assert reward_vs_digit(own).axes[0].get_xlabel() == "True reward"


def test_nothing_measured_gives_an_empty_table(tmp_path):
    write_run(tmp_path)
    table = summarise(collect(tmp_path).cells, "last/policy/win_rate")
    assert isinstance(table, pd.DataFrame)
    assert table.empty


def test_p_is_adjusted_over_the_pairs_and_rates_of_one_experiment_and_metric(
    tmp_path: Path,
) -> None:
    for epochs in (10, 30):
        losses = {"ramp": None, "hinge": None, "logistic": None}
        write_sweep(tmp_path, losses, [0.1, 0.4], [0, 1, 2], epochs=epochs)
    write_run(tmp_path, loss="ipo", noise=0.1, seed=0)  # one seed: no p, no test
    found = differences(Collection.from_runs(tmp_path).cells, "last/test/order_accuracy")
    families = list(found.groupby("job.epochs"))
    assert [len(rows) for _, rows in families] == [12, 6]
    for _, rows in families:
        tests = rows[rows["p"].notna()]
        assert len(tests) == 6
        expected = multipletests(tests["p"], method="holm")[1]
        assert tests["p_holm"].tolist() == pytest.approx(expected.tolist())
        assert rows.loc[rows["p"].isna(), "p_holm"].isna().all()
