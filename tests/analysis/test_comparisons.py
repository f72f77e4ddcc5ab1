"""Comparisons: a metric against any setting, by lines and panels, with summaries' intervals."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sympo.analysis import Collection, summarise, write_report
from sympo.analysis.__main__ import main
from sympo.analysis.comparison_plots import comparison_figure
from sympo.analysis.comparisons import Drawn, compare
from sympo.report_settings import FILE, Comparison, ReportSettings
from tests.analysis.planted import around, planted
from tests.analysis.synthetic import write_run

SIZES = {"dataset.train_pairs": [500, 2000, 8000]}


def value(seed: int, loss: str, noise: float, noise_model: str, **rest: Any) -> float:
    size = np.log10(rest.get("dataset.train_pairs", 100)) / 20
    lift = 0.1 * (loss == "ramp") + 0.02 * (noise_model == "symmetric")
    return float(around(0.5, 0.01)(seed) + lift + size - 0.5 * noise)


def asked(**given: Any) -> Comparison:
    whole = {"name": "mine", "metric": "test/spearman"} | given
    (found,) = ReportSettings.of({"comparisons": [whole]}).comparisons
    return found


def drawn(cells: Collection, **given: Any) -> list[Drawn]:
    found = compare(cells, asked(**given))
    assert not isinstance(found, str), found
    return found


def test_lines_are_noise_models_and_x_is_any_setting() -> None:
    cells = planted(
        value, loss=["logistic", "ramp"], noise=[0.1, 0.3],
        noise_model=["symmetric", "asymmetric"], **SIZES,
    )  # fmt: skip
    (one,) = drawn(
        cells, x="dataset.train_pairs", lines=["loss", "noise_model"], panels="noise", log_x=True
    )
    assert list(one.labels.looks) == [
        "ramp, asymmetric", "ramp, symmetric", "logistic, asymmetric", "logistic, symmetric"
    ]  # fmt: skip
    assert one.labels.panels == ["noise 0.1", "noise 0.3"]
    table = one.csv().set_index(["loss", "noise_model", "noise", "dataset.train_pairs"])
    assert len(table) == 2 * 2 * 2 * 3 and table.index.is_unique
    row = table.loc[("ramp", "symmetric", 0.3, 2000)]
    assert row["mean"] == pytest.approx(0.5 + 0.12 + np.log10(2000) / 20 - 0.15)
    half = 2.776445 * 0.01 / np.sqrt(5)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=1e-5)
    assert (row["n_seeds"], row["missing"], row["interval"]) == (5, 0, "student_t")

    figure = comparison_figure(one)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["noise 0.1", "noise 0.3"]
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_xlabel() == "dataset.train_pairs"
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["500", "2000", "8000"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(one.labels.looks)
    caption = figure.get_supxlabel()
    assert caption == "Mean and 95% Student t interval over 5 seeds."
    assert figure.get_label() == (
        "Rank correlation with the true reward against dataset.train_pairs: digits, reward_model"
    )
    # the same loss has one colour, the same noise model one kind of line
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
    looks = [(line.get_color(), line.get_linestyle()) for line in lines]
    assert looks[0][0] == looks[1][0] != looks[2][0] == looks[3][0]
    assert looks[0][1] == looks[2][1] != looks[1][1] == looks[3][1]


def test_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    for loss, noise, seed in (
        (a, b, c) for a in ("ramp", "ipo") for b in (0.1, 0.3) for c in (0, 1, 2)
    ):
        scores = (draw.random(400) < 0.8 - 0.3 * noise).astype(float)
        write_run(tmp_path, loss=loss, noise=noise, seed=seed, scores=scores)
    cells = Collection.from_runs(tmp_path)
    (one,) = drawn(cells, metric="test/order_accuracy", epoch=["last", "selected"])
    expected = pd.concat(
        summarise(cells.cells, f"{which}/test/order_accuracy", None, cells.outcomes)
        for which in ("last", "selected")
    ).sort_values(["metric", "variant", "noise"])
    found = one.csv().sort_values(["epoch", "loss", "noise"])
    assert set(found["interval"]) == {"seeds_and_items"}
    for name in ("mean", "low", "high", "n_seeds"):
        assert found[name].tolist() == pytest.approx(expected[name].tolist())


def test_settings_that_do_not_differ_are_left_out_of_labels() -> None:
    cells = planted(value, loss=["logistic", "ramp"], noise=[0.1, 0.3])
    (one,) = drawn(cells, lines=["loss", "noise_model"])
    assert list(one.labels.looks) == ["ramp", "logistic"]
    assert one.context == "digits, symmetric noise, reward_model"


def test_cells_that_differ_otherwise_are_not_pooled() -> None:
    cells = planted(value, noise=[0.1, 0.3], noise_model=["symmetric", "asymmetric"], **SIZES)
    several = drawn(cells, lines=["noise_model"])
    names = [f"mine__train_pairs={size}" for size in (500, 2000, 8000)]
    assert [one.name for one in several] == names
    assert all((one.table["n_seeds"] == 5).all() for one in several)
    assert several[0].context == "digits, reward_model, train_pairs=500"
    # noise rates that nothing uses give panels
    (one,) = drawn(cells, x="dataset.train_pairs", lines=["noise_model"])
    assert one.labels.panels == ["noise 0.1", "noise 0.3"]
    # a setting that follows from another one does not separate cells
    cells.cells.insert(6, "job.epochs", cells.cells["dataset.train_pairs"] // 10)
    assert len(drawn(cells, x="dataset.train_pairs", lines=["noise_model"])) == 1


def test_where_epochs_and_categories() -> None:
    cells = planted(value, loss=["logistic", "ramp", "ipo"], noise=[0.1, 0.3])
    cells.cells["selected/test/spearman"] = cells.cells["last/test/spearman"] + 0.1
    where = {"loss": ["ramp", "ipo"], "noise": 0.3}
    (one,) = drawn(cells, x="loss", lines="epoch", epoch=["selected", "last"], where=where)
    assert one.labels.categories == ["ramp", "ipo"]
    assert list(one.labels.looks) == ["last epoch", "selected epoch"]
    table = one.csv().set_index(["epoch", "loss"])["mean"]
    assert len(table) == 4
    assert table["selected", "ramp"] - table["last", "ramp"] == pytest.approx(0.1)
    figure = comparison_figure(one, "small")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["ramp", "ipo"]
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "A coarse form of the experiment (size=small)." in caption
    assert "Selected epoch: chosen by noisy validation." in caption
    (two,) = drawn(cells, epoch=["last", "selected"])
    assert [ax.get_title() for ax in comparison_figure(two).axes] == [
        "Last epoch", "Epoch chosen by noisy validation"
    ]  # fmt: skip
    (three,) = drawn(cells, x="loss", lines="epoch", epoch=["selected", "last"], panels="noise")
    assert [ax.get_title() for ax in comparison_figure(three).axes] == ["noise 0.1", "noise 0.3"]


def test_a_metric_against_a_metric_has_points_of_the_other_settings() -> None:
    cells = planted(value, loss=["logistic", "ramp"], noise=[0.1], **SIZES)
    cells.cells["last/policy/kl"] = cells.cells["dataset.train_pairs"] / 1000 + 0.0
    (one,) = drawn(cells, x="policy/kl")
    table = one.csv()
    assert len(table) == 6 and {"policy/kl", "policy/kl_low", "dataset.train_pairs"} <= set(table)
    assert table["policy/kl"].tolist() == [0.5, 2, 8, 0.5, 2, 8]
    figure = comparison_figure(one)
    assert figure.axes[0].get_xlabel() == "KL to the reference (nats per answer)"
    assert "Crosses: both intervals." in figure.get_supxlabel()


def test_a_bound_takes_its_constant_from_the_cells_it_names() -> None:
    # 1 - 4 / sqrt(n) without noise, and less with it
    cells = planted(
        lambda seed, noise, **rest: 1 - 4 / rest["dataset.train_pairs"] ** 0.5 - noise / 2,
        loss=["logistic", "ramp"], noise=[0.0, 0.3], **SIZES,
    )  # fmt: skip
    cells.cells["last/test/order_accuracy"] = cells.cells["last/test/spearman"]
    given = {"metric": "test/order_accuracy", "x": "dataset.train_pairs", "panels": "loss"}
    (one,) = drawn(cells, **given, lines="noise", bound={"noise": 0})
    figure = comparison_figure(one)
    for ax in figure.axes:
        (curve,) = [line for line in ax.lines if line.get_linestyle() == ":"]
        x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
        assert (x[0], x[-1]) == (pytest.approx(500), pytest.approx(8000))
        assert y == pytest.approx(100 * (1 - 4 / x**0.5))
    assert "1 - c / sqrt(x), with the least c that holds at noise 0." in figure.get_supxlabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "bound"
    # no cell gives a constant
    (two,) = drawn(cells, **given, lines="noise", bound={"noise": 0.1})
    figure = comparison_figure(two)
    assert not [line for ax in figure.axes for line in ax.lines if line.get_linestyle() == ":"]
    assert "bound" not in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "Bound" not in figure.get_supxlabel()


def test_missing_cells_are_counted_and_absent_combinations_are_not() -> None:
    def some(seed: int, loss: str, noise: float, noise_model: str) -> float | None:
        return None if (loss, noise, seed) == ("ramp", 0.3, 2) else float(seed)

    cells = planted(some, loss=["logistic", "ramp"], noise=[0.1, 0.3])
    kept = ~((cells.cells["loss"] == "logistic") & (cells.cells["noise"] == 0.1))
    cells = Collection(cells.cells[kept].reset_index(drop=True), cells.curves, cells.incomplete)
    (one,) = drawn(cells)
    counts = one.csv().set_index(["loss", "noise"])[["n_seeds", "missing"]]
    assert counts.loc["ramp"].values.tolist() == [[5, 0], [4, 1]]
    assert counts.loc["logistic"].values.tolist() == [[5, 0]]
    assert "Missing cells: 1, see mine.csv" in comparison_figure(one).get_supxlabel()


def test_cells_without_the_setting_are_level_lines() -> None:
    cells = planted(
        lambda seed, **rest: float(seed), loss=["cdpo", "logistic"],
        **{"loss.assumed_rate": [0.1, 0.3]},
    )  # fmt: skip
    frame = cells.cells
    frame.loc[frame["loss"] == "logistic", "loss.assumed_rate"] = np.nan
    frame = frame.drop_duplicates(["loss", "loss.assumed_rate", "seed"]).reset_index(drop=True)
    (one,) = drawn(Collection(frame, frame, cells.incomplete), x="loss.assumed_rate")
    assert list(one.labels.looks) == ["logistic", "cdpo"]
    assert one.csv()["missing"].tolist() == [0, 0, 0]
    assert "without markers: cells without loss.assumed_rate" in " ".join(
        comparison_figure(one).get_supxlabel().split()
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"metric": "test/ece"}, "no cell here measured test/ece"),
        ({"x": "dataset.test_pairs"}, "dataset.test_pairs does not differ between cells"),
        ({"where": {"loss": "ipo"}}, "no cell here measured test/spearman"),
    ],
)
def test_what_cannot_be_drawn_is_said(given: dict[str, Any], why: str) -> None:
    found = compare(planted(value, noise=[0.1, 0.3]), asked(**given))
    assert found == f"mine: not drawn, since {why}"


def test_standing_figures_of_several_experiments_are_not_drawn_beside_comparisons(
    tmp_path: Path,
) -> None:
    settings = ReportSettings.of({"comparisons": [{"name": "rank", "metric": "test/spearman"}]})
    for models, standing in ((["symmetric"], True), (["symmetric", "asymmetric"], False)):
        cells = planted(value, loss=["logistic", "ramp"], noise=[0.1, 0.3], noise_model=models)
        cells.cells["last/test/order_accuracy"] = cells.cells["last/test/spearman"]
        report = write_report(cells, tmp_path / models[-1], settings)
        names = {figure.stem for figure in report.figures}
        assert "rank" in {name.split("__")[0] for name in names}
        assert any(name.startswith("accuracy_vs_noise") for name in names) is standing


def test_reports_hold_comparisons_and_claims_and_are_redrawn_from_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = planted(value, loss=["logistic", "ramp"], noise=[0.1, 0.3])
    cells.cells["last/test/order_accuracy"] = cells.cells["last/test/spearman"]
    claim = {
        "claim": "Ramp ranks better", "source": "Theorem 2", "kind": "greater", "over": ["noise"],
        "metric": "last/test/spearman", "a": {"loss": "ramp"}, "b": {"loss": "logistic"},
    }  # fmt: skip
    figures = [{"name": name, "metric": "test/spearman"} for name in ("rank", "old")]
    settings = ReportSettings.of({"comparisons": figures, "claims": [claim]})
    report = write_report(cells, tmp_path / "out", settings)
    made = {file.name for file in report.folder.iterdir()}
    assert {"rank.png", "rank.pdf", "rank.csv", "claims.csv", "comparisons.csv", FILE} <= made
    assert report.folder / "rank.png" in report.figures
    page = (report.folder / "report.html").read_text()
    assert "Supported: Ramp ranks better (Theorem 2)" in page and 'href="rank.png"' in page
    before = {
        name: (report.folder / name).read_bytes()
        for name in ("rank.csv", "rank.png", "claims.csv", "comparisons.csv", FILE)
    }
    # without --report, the stored settings apply
    assert main(["--from-csv", str(report.folder)]) == 0
    assert "Supported: Ramp ranks better (Theorem 2)" in capsys.readouterr().out
    for name, content in before.items():
        assert (report.folder / name).read_bytes() == content, name
    # other settings replace them, and remove what is obsolete
    other = tmp_path / "preset.yaml"
    other.write_text("report: {comparisons: [{name: rank, metric: test/spearman}]}\n")
    (report.folder / "notes.csv").touch()
    assert main(["--from-csv", str(report.folder), "--report", str(other)]) == 0
    made = {file.name for file in report.folder.iterdir()}
    assert {"rank.png", "rank.csv", FILE, "notes.csv"} <= made
    assert not made & {"old.png", "old.pdf", "old.csv", "claims.csv", "comparisons.csv"}
    write_report(cells, report.folder)
    made = {file.name for file in report.folder.iterdir()}
    assert not made & {"rank.png", "rank.csv", FILE}
    other.write_text("report: {comparisons: [{name: rank}]}\n")
    assert main(["--from-csv", str(report.folder), "--report", str(other)]) == 2
    assert "comparisons[0].metric is missing" in capsys.readouterr().err
