"""Baselines in tables, summaries and figures, and their absence where none was measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sympo.analysis import Collection, draw, write_report
from sympo.analysis.baselines import summarise_baselines
from sympo.analysis.intervals import Outcomes
from sympo.outcomes import Scored
from tests.analysis.synthetic import policy_history, write_run

MEASURED = {
    "test/label_accuracy": 0.64,
    "test/label_accuracy_se": 0.02,
    "baseline/longer/label_accuracy": 0.61,
    "baseline/longer/label_accuracy_se": 0.023,
    "baseline/tfidf/label_accuracy": 0.66,
    "baseline/tfidf/label_accuracy_se": 0.022,
}
PATHS = [f"last/baseline/{name}/label_accuracy" for name in ("chance", "longer", "tfidf")]
TITLES = ["chance", "longer response", "TF-IDF, clean labels"]


def write_texts(runs: Path, **settings: object) -> None:
    for loss in ("ramp", "cdpo"):
        for noise in (0.0, 0.4):
            for seed in range(2):
                # seeds of other test pairs than seed 0 have other baselines
                own = {name: value + 0.02 * seed for name, value in MEASURED.items()}
                assumed = 0.1 if loss == "cdpo" else None
                write_run(
                    runs, dataset="hh", loss=loss, noise=noise, seed=seed, assumed_rate=assumed,
                    metrics=own | {"test/order_accuracy": None},
                )  # fmt: skip


def test_summary_has_a_row_for_each_baseline_and_noise_rate(tmp_path: Path) -> None:
    write_texts(tmp_path / "runs")
    collection = Collection.from_runs(tmp_path / "runs")
    report = write_report(collection, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/summary.csv")
    last = table[table["metric"].isin(PATHS)]
    assert last["metric"].tolist() == [path for path in PATHS for _ in range(2)]
    assert last["loss"].tolist() == [title for title in TITLES for _ in range(2)]
    np.testing.assert_allclose(last["mean"], np.repeat([0.5, 0.62, 0.67], 2))
    assert (last["n_seeds"] == 2).all() and (last["missing"] == 0).all()
    assert last["low"].isna().tolist() == [True, True, False, False, False, False]
    # rows of losses are what they were
    losses = table[table["metric"] == "last/test/label_accuracy"]
    assert losses["loss"].tolist() == ["cdpo", "cdpo", "ramp", "ramp"]
    assert not set(report.differences["a"]) & set(TITLES)
    # below the losses of each block, in one order
    blocks = report.table.split("\n\n")
    for block in blocks[:2]:
        lines = block.splitlines()
        assert [line.split("  ")[1] for line in lines[2:]] == ["ramp", "cdpo", *TITLES]
        assert "62.0 ±" in lines[5] and lines[4].count("50.0 (n=2)") == 2
    assert "baseline" not in report.table


def test_figures_have_a_line_for_each_baseline(tmp_path: Path) -> None:
    write_texts(tmp_path)
    figures = draw(Collection.from_runs(tmp_path))
    for name in ("label_accuracy_vs_noise", "label_accuracy_vs_epochs"):
        figure = figures[name]
        (legend,) = figure.legends
        said = [text.get_text() for text in legend.get_texts()]
        assert said[2:] == ["chance 50.0%", "longer response 62.0%", "TF-IDF, clean labels 67.0%"]
        for ax in figure.axes:
            lines = [line for line in ax.lines if line.get_transform() != ax.transData]
            np.testing.assert_allclose([line.get_ydata()[0] for line in lines], [50, 62, 67])
            looks = {
                (line.get_linestyle(), line.get_color(), line.get_linewidth()) for line in lines
            }
            assert len(looks) == 3
            assert all(line.get_marker() in ("None", None) for line in lines)
            low, high = ax.get_ylim()
            assert low < 50 and high > 67
        caption = " ".join(figure.get_supxlabel().split())
        assert "TF-IDF trained on the same training pairs without flips" in caption
        assert "Grey line" not in caption
    assert "chance" not in str(figures["memorised_vs_epochs"].legends[0].get_texts())


def test_policies_are_compared_on_pairs_and_not_in_win_rates(tmp_path: Path) -> None:
    history = policy_history("ramp", 0.3, 0)
    for line in history:
        line |= {name: MEASURED[name] for name in MEASURED if name.startswith("baseline")}
    write_run(tmp_path, job="policy", dataset="hh", noise=0.3, history=history)
    figures = draw(Collection.from_runs(tmp_path))
    labels = {
        name: [text.get_text() for text in figure.legends[0].get_texts()]
        for name, figure in figures.items()
    }
    assert "longer response 61.0%" in labels["implicit_accuracy_vs_noise"]
    assert labels["win_rate_vs_noise"] == ["logistic"]
    assert "Grey line: 50%" in " ".join(figures["win_rate_vs_noise"].get_supxlabel().split())


def test_data_without_baselines_has_none(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    write_run(tmp_path / "runs", dataset="hh", metrics={**MEASURED, "test/order_accuracy": None})
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    images, texts = sorted(
        (block for block in report.table.split("\n\n") if "last epoch" in block),
        key=lambda block: "hh" in block,
    )
    assert "longer" in texts and "longer" not in images and "chance" not in images
    digits = report.summary[report.summary["dataset"] == "digits"]
    assert digits["metric"].unique().tolist() == [
        "last/test/order_accuracy", "selected/test/order_accuracy"
    ]  # fmt: skip


def test_the_interval_knows_that_seeds_share_test_pairs() -> None:
    items = np.arange(400, dtype=np.uint64)
    scored = Scored(items, items)
    scores = (np.arange(400) < 244).astype(float)
    own = "last/baseline/longer/label_accuracy"
    cells = pd.DataFrame(
        {
            "job": "reward_model", "dataset": "hh", "loss": ["ramp", "ramp", "hinge", "hinge"],
            "noise": 0.1, "noise_model": "symmetric", "seed": [0, 1, 0, 1], "oracle": False,
            "last/test/label_accuracy": 0.6, own: 0.61, f"{own}_se": 0.0244,
        }
    )  # fmt: skip
    outcomes = Outcomes(
        {own: pa.chunked_array([[scored.pack(scores)] * 4])},
        {scored.test_set.digest: scored.test_set},
    )
    row = summarise_baselines(cells, "last/test/label_accuracy", outcomes).iloc[1]
    half = 1.96 * np.sqrt(0.61 * 0.39 / 400)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.005)
    assert row["interval"] == "seeds_and_items" and row["n_seeds"] == 2
