import inspect
import json
import textwrap

import numpy as np
import pandas as pd
import pytest

from sympo.analysis import Collection, differences, run_files, summarise
from sympo.analysis.__main__ import main
from sympo.analysis.frames import KEYS, settings
from tests.analysis.synthetic import policy_history, write_policy_sweep, write_run, write_sweep


def test_the_example_of_a_collection_runs(tmp_path, monkeypatch, capsys):
    write_sweep(tmp_path / "results" / "runs", {"ramp": None}, [0.1, 0.3], [0, 1])
    monkeypatch.chdir(tmp_path)
    example = (inspect.getdoc(Collection) or "").split("a figure:")[1]
    exec("from sympo.analysis import *\n" + textwrap.dedent(example.strip("\n")))
    assert "noise 0.3" in capsys.readouterr().out
    assert (tmp_path / "accuracy.png").is_file() and (tmp_path / "accuracy.pdf").is_file()


def test_cells_hold_keys_differing_leaves_oracle_and_metrics(tmp_path):
    write_sweep(tmp_path, {"ramp": None, "cdpo": "true"}, [0.1, 0.3], [0, 1], epochs=10)
    write_run(tmp_path, loss="ramp", noise=0.1, seed=0, epochs=30)
    cells = Collection.from_runs(tmp_path).cells
    assert list(cells.columns[:6]) == KEYS
    # not loss._identity_ (follows from the name), not noise_model.rate (is the noise rate)
    assert settings(cells) == ["job.epochs", "loss.assumed_rate"]
    assert cells["oracle"].tolist() == (cells["loss"] == "cdpo").tolist()
    assert {"last/test/order_accuracy", "selected/epoch", "last/epoch"} <= set(cells.columns)


def test_a_single_kind_of_run_has_no_setting_columns(tmp_path):
    write_sweep(tmp_path, {"ramp": None, "logistic": None}, [0.0, 0.3], [0, 1])
    assert settings(Collection.from_runs(tmp_path).cells) == []


def test_leaves_are_compared_within_the_option_of_their_group(tmp_path):
    for dataset, pairs in (("digits", 1), ("mnist", 2)):
        write_run(tmp_path, dataset=dataset, **{"dataset_config": {"pairs": pairs}})
    write_run(tmp_path, seed=1, model={"channels": [8, 16]})
    columns = settings(Collection.from_runs(tmp_path).cells)
    assert columns == ["dataset_config.pairs", "model._identity_", "model.channels"]


def test_oracle_is_the_assumed_rate_at_the_noise_rate_alone(tmp_path):
    write_sweep(tmp_path, {"cdpo": 0.1}, [0.1, 0.3], [0])
    cells = Collection.from_runs(tmp_path).cells
    assert dict(zip(cells["noise"], cells["oracle"], strict=True)) == {0.1: True, 0.3: False}


def test_curves_have_a_row_per_evaluation_and_no_reward_means(tmp_path):
    folder = write_run(tmp_path)
    line = (folder / "metrics.jsonl").read_text().splitlines()[-1]
    with (folder / "metrics.jsonl").open("a") as file:  # a resumed run repeats an epoch
        file.write(line + "\n")
    curves = Collection.from_runs(tmp_path).curves
    assert curves["epoch"].tolist() == list(range(1, 11))
    assert not [name for name in curves.columns if "reward_mean" in name]


def test_epochs_can_be_fractions(tmp_path):
    write_policy_sweep(tmp_path / "runs", {"ramp": None}, [0.1, 0.3], [0])
    collection = Collection.from_runs(tmp_path / "runs")
    expected = [row["epoch"] for row in policy_history("ramp", 0.1, 0)] * 2
    assert 0.25 in expected
    assert collection.curves["epoch"].tolist() == expected
    assert collection.cells["last/epoch"].tolist() == [5, 5]
    collection.write(tmp_path / "out")
    again = Collection.read(tmp_path / "out")
    pd.testing.assert_frame_equal(again.curves, collection.curves)
    pd.testing.assert_frame_equal(again.cells, collection.cells)


def test_unfinished_and_unreadable_runs_are_counted(tmp_path, caplog):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, complete=False)
    broken = write_run(tmp_path, seed=2, noise=0.3) / "summary.json"
    broken.write_text('{"job": ')
    collection = Collection.from_runs(tmp_path)
    assert len(collection.cells) == 1
    assert collection.incomplete[["noise", "seed"]].to_numpy().tolist() == [[0.1, 1], [0.3, 2]]
    assert [str(broken) in record.getMessage() for record in caplog.records] == [True]


def test_run_folders_can_be_named_and_count_once(tmp_path):
    folder = write_run(tmp_path)
    write_run(tmp_path, seed=1)
    assert len(Collection.from_runs([folder, str(folder)]).cells) == 1


def test_null_metrics_are_missing_values(tmp_path):
    write_run(tmp_path, noise=0.0)
    cells = Collection.from_runs(tmp_path).cells
    assert cells["last/train/flipped_memorised"].isna().all()


@pytest.mark.parametrize("unfinished", [False, True])
def test_csv_round_trip(tmp_path, unfinished):
    write_sweep(tmp_path / "runs", {"ramp": None, "cdpo": "true"}, [0.0, 0.3], [0, 1])
    write_run(tmp_path / "runs", loss="ramp", epochs=30, optimizer="none", clip=None)
    write_run(tmp_path / "runs", loss="hinge", seed=9, complete=not unfinished)
    collection = Collection.from_runs(tmp_path / "runs")
    collection.write(tmp_path / "out")
    again = Collection.read(tmp_path / "out")
    for name in ("cells", "curves", "incomplete"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(collection, name))
    assert again.cells["noise"].dtype == float
    assert again.cells["oracle"].dtype == bool


def test_cells_may_measure_different_numbers(tmp_path):
    history = [{"epoch": 1, "validation/noisy_accuracy": 0.5, "note": "warm"}]
    write_run(tmp_path, seed=0, history=[history[0] | {"policy/kl": 3}])
    write_run(tmp_path, seed=1, history=[history[0] | {"policy/length": None}])
    curves = Collection.from_runs(tmp_path).curves
    assert "note" not in curves
    np.testing.assert_array_equal(curves["policy/kl"], [3.0, np.nan])
    assert curves["policy/length"].isna().all()


def test_thousands_of_cells(tmp_path):
    template = write_run(tmp_path / "one", loss="ramp")
    summary = json.loads((template / "summary.json").read_text())
    metrics = (template / "metrics.jsonl").read_bytes()
    for seed in range(5000):
        folder = (
            tmp_path / "runs/reward_model/digits/ramp/noise=0.1" / f"seed={seed}-{summary['hash']}"
        )
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_bytes(metrics)
        config = summary["config"] | {"seed": seed}
        (folder / "summary.json").write_text(json.dumps(summary | {"seed": seed, "config": config}))
    collection = Collection.from_runs(tmp_path / "runs")
    assert (len(collection.cells), len(collection.curves)) == (5000, 50000)
    assert settings(collection.cells) == []


def test_a_blank_line_here_and_a_missing_line_end_there(tmp_path):
    history = [{"epoch": epoch, "validation/noisy_accuracy": epoch / 10} for epoch in (1, 2)]
    first, second = (
        write_run(tmp_path, seed=seed, history=history) / "metrics.jsonl" for seed in (0, 1)
    )
    first.write_text(first.read_text().rstrip("\n"))
    second.write_text(second.read_text() + "\n")
    curves = Collection.from_runs(tmp_path).curves
    assert curves[["seed", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_evaluations_without_an_epoch_are_told(tmp_path, caplog):
    folder = write_run(tmp_path)
    (folder / "metrics.jsonl").write_text('{"a": 1}\n')
    collection = Collection.from_runs(tmp_path)
    assert (len(collection.curves), len(collection.incomplete)) == (0, 1)
    assert "metrics.jsonl is damaged: line 1: it lacks epoch" in caplog.text


@pytest.mark.parametrize("together", [2048, 1])
def test_a_setting_may_be_of_several_kinds(tmp_path, monkeypatch, together):
    monkeypatch.setattr(run_files, "_TOGETHER", together)
    for seed, value in enumerate([True, 1, 1.5, "x", None, [1, 2]]):
        write_run(tmp_path, seed=seed, extra={"what": value})
    cells = Collection.from_runs(tmp_path).cells
    assert cells["extra.what"].tolist()[:4] == ["True", "1", "1.5", "x"]
    assert pd.isna(cells["extra.what"][4]) and cells["extra.what"][5] == "[1, 2]"


def test_null_is_a_setting_of_its_own_even_where_the_others_equal_the_seed(tmp_path):
    write_run(tmp_path, seed=1, accuracy=0.7, tag="a", margin={"clip": None})
    write_run(tmp_path, seed=1, accuracy=0.6, tag="b", margin={"clip": 1})
    collection = Collection.from_runs(tmp_path)
    table = summarise(collection.cells, "last/test/order_accuracy")
    assert table["n_seeds"].tolist() == [1, 1]
    assert sorted(table["mean"]) == pytest.approx([0.6, 0.7])
    assert collection.set_aside == ()


def test_cells_of_one_seed_that_nothing_tells_apart_are_named_and_not_pooled(tmp_path, capsys):
    first = write_run(tmp_path / "runs", seed=0, tag="a")
    second = write_run(tmp_path / "runs", seed=0, tag="b")
    write_run(tmp_path / "runs", seed=0, loss="ramp")
    collection = Collection.from_runs(tmp_path / "runs")
    assert collection.cells["loss"].tolist() == ["ramp"]
    (said,) = collection.set_aside
    assert str(first) in said and str(second) in said and "have the same settings" in said
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 1
    assert "not drawn: at one seed" in capsys.readouterr().out


def test_outcomes_come_back_from_csv(tmp_path):
    draw = np.random.default_rng(0)
    for seed in range(2):
        for loss in ("ramp", "hinge"):
            scores = draw.choice([0, 0.5, 1], 50, p=[0.3, 0.1, 0.6])
            write_run(tmp_path / "runs", loss=loss, seed=seed, scores=scores)
    write_run(tmp_path / "runs", loss="ramp", seed=2)  # of an earlier version, without outcomes
    made = Collection.from_runs(tmp_path / "runs")
    made.write(tmp_path)
    read = Collection.read(tmp_path)
    metric = "last/test/order_accuracy"
    pd.testing.assert_frame_equal(
        differences(made.cells, metric, made.outcomes),
        differences(read.cells, metric, read.outcomes),
    )
    assert read.outcomes.packed[metric].to_pylist() == made.outcomes.packed[metric].to_pylist()
    assert differences(read.cells, metric, read.outcomes)["n_seeds"].tolist() == [2]


@pytest.mark.parametrize("name", ["outcomes.csv", "test_sets.csv"])
@pytest.mark.parametrize(
    "content", [None, "", "digest,content\nab,AA\n", "cell,metric,outcomes\n9,a,b\n"]
)
def test_damaged_csvs_of_outcomes_are_named(tmp_path, name, content, capsys):
    write_run(tmp_path / "runs", scores=np.ones(10))
    Collection.from_runs(tmp_path / "runs").write(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    if (content, name) == (None, "outcomes.csv"):  # as of an earlier version
        assert not Collection.read(tmp_path).outcomes.packed
        return
    assert main(["--from-csv", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "outcomes.csv and test_sets.csv cannot be read together" in line
