import subprocess
import sys

import pytest

from sympo.analysis import Collection, write_report
from sympo.analysis.__main__ import main
from sympo.analysis.frames import settings
from sympo.types import BadInput
from tests.analysis.synthetic import policy_history, write_policy_sweep, write_run, write_sweep
from tests.analysis.synthetic_judged import judge_run


def test_report_of_one_experiment(tmp_path, capsys):
    runs = tmp_path / "results/runs"
    absent = [("ramp", 0.3, 0), ("hinge", 0.1, 0), ("hinge", 0.1, 1)]
    losses = {"ramp": None, "hinge": None, "cdpo": "true"}
    write_sweep(runs, losses, [0.1, 0.3], [0, 1], missing=absent)
    write_run(runs, loss="ramp", noise=0.3, seed=0, complete=False)
    assert main([str(runs)]) == 0
    latest = tmp_path / "results/latest"
    said = capsys.readouterr().out
    for piece in ("(n=1 of 2)", "missing: 3 cells", "cdpo (oracle)", "unfinished runs: 1"):
        assert piece in said
    assert str(latest / "accuracy_vs_noise.png") in said
    names = {file.name for file in latest.iterdir()}
    assert {"cells.csv", "curves.csv", "incomplete.csv", "summary.csv", "differences.csv"} <= names
    assert {"report.html", "accuracy_vs_noise.pdf", "reward_vs_digit.png"} <= names
    assert all((latest / name).stat().st_size > 0 for name in names)


def test_redrawing_from_csv_gives_the_same_numbers_and_drops_old_figures(tmp_path):
    write_sweep(tmp_path / "runs", {"ramp": None}, [0.1, 0.3], [0, 1])
    first = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    before = (first.folder / "summary.csv").read_bytes()
    (first.folder / "accuracy_vs_noise__old.png").touch()
    (first.folder / "notes.md").touch()
    assert main(["--from-csv", str(first.folder)]) == 0
    assert (first.folder / "summary.csv").read_bytes() == before
    assert not (first.folder / "accuracy_vs_noise__old.png").exists()
    assert (first.folder / "notes.md").exists()


def test_the_page_names_each_figure_once_in_words(tmp_path):
    write_policy_sweep(tmp_path / "runs", {"ramp": None}, [0.3], [0], gold=False)
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    page = (report.folder / "report.html").read_text()
    assert page.count("<h3>KL to the reference by epoch</h3>") == 1
    assert 'aria-label="KL to the reference by epoch: hh, symmetric noise, policy. ' in page
    # all figures but those of a single epoch, which say what those against the noise rate do
    assert page.count("<figure") == page.count("</h3>") <= len(report.figures)


def test_several_experiments_get_figures_of_their_own(tmp_path):
    for epochs in (10, 30):
        write_run(tmp_path / "runs", epochs=epochs)
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    names = [figure.name for figure in report.figures]
    assert "accuracy_vs_noise__digits_symmetric_job.epochs=10.png" in names
    assert "accuracy_vs_noise__digits_symmetric_job.epochs=30.png" in names
    assert report.table.count("job.epochs = 30") == 2


def test_policies_are_headed_by_their_win_rate(tmp_path):
    for seed in range(2):
        run = {"job": "policy", "dataset": "hh", "seed": seed}
        write_run(
            tmp_path / "runs", **run, metrics={"policy/win_rate": 0.6, "test/order_accuracy": None}
        )
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    assert "Win rate over the reference (policy/win_rate, %), last epoch" in report.table
    assert "60.0 (n=2)" in report.table
    assert (tmp_path / "out/win_rate_vs_noise.png").exists()
    assert not (tmp_path / "out/accuracy_vs_noise.png").exists()


def test_each_data_set_is_headed_by_the_first_number_that_it_has(tmp_path):
    runs = tmp_path / "runs"
    write_policy_sweep(runs, {"ramp": None, "ipo": None}, [0.1, 0.3], [0])
    write_policy_sweep(runs, {"ramp": None, "ipo": None}, [0.1, 0.3], [0], gold=False)
    write_run(runs, loss="ramp")
    report = write_report(Collection.from_runs(runs), tmp_path / "out")
    for heading in (
        "Win rate over the reference (policy/win_rate, %), last epoch: gold_language",
        "Implicit reward accuracy (test/implicit_accuracy, %), last epoch: hh",
        "Test pairwise accuracy (test/order_accuracy, %), last epoch: digits",
    ):
        assert report.table.count(heading) == 1
    assert report.table.count("last epoch") == 3
    assert set(report.differences["metric"]) >= {"last/policy/win_rate"}
    assert "±, n=1: half width of a 95% bootstrap interval over the prompts" in report.table
    assert "±, n=1: 1.96 standard errors over the test pairs" in report.table


def test_judges_follow_the_headline_and_are_redrawn_from_csv(tmp_path):
    write_policy_sweep(
        tmp_path / "runs", {"ramp": None, "ipo": None}, [0.1, 0.3], [0, 1], gold=False
    )
    for folder in sorted((tmp_path / "runs").glob("*/*/*/noise=*/seed=*")):
        judge_run(folder, prompts_of=folder.name[:6])
        judge_run(folder, "model", which=("last",), against="reference")
        if "noise=0.3/seed=0" in folder.as_posix():
            judge_run(folder, "human", which=("last",), prompts_of=folder.name[:6], items=20)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/judge_former_win_rate_vs_noise.png").touch()
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    headings = [line for line in report.table.splitlines() if "%), " in line]
    assert [heading.split(": ")[0] for heading in headings] == [
        "Implicit reward accuracy (test/implicit_accuracy, %), last epoch",
        "Implicit reward accuracy (test/implicit_accuracy, %), epoch chosen by noisy validation",
        "judge gold, win rate over the chosen answers (%), last epoch",
        "judge human, win rate over the chosen answers (%), last epoch",
        "judge model, win rate over the reference (%), last epoch",
    ]
    opponent = report.summary.drop_duplicates("metric").set_index("metric")["against"]
    assert opponent["selected/judge/gold/win_rate"] == "chosen"
    assert opponent["last/judge/model/win_rate"] == "reference"
    assert opponent.isna().sum() == 2
    assert "human judged 2 of 8 cells" in report.table
    assert "gold judged" not in report.table
    assert "missing" not in report.table
    judged = {
        "last/judge/gold/win_rate",
        "selected/judge/gold/win_rate",
        "last/judge/human/win_rate",
        "last/judge/model/win_rate",
    }
    assert judged < set(report.summary["metric"])
    assert judged < set(report.differences["metric"])
    drawn = {figure.name for figure in report.figures if figure.name.startswith("judge_")}
    assert drawn == {
        "judge_gold_win_rate_vs_noise.png",
        "judge_human_win_rate_vs_noise.png",
        "judge_model_win_rate_vs_noise.png",
        "judge_position_bias.png",
        "judge_agreement.png",
    }
    page = (report.folder / "report.html").read_text()
    assert all(name in page for name in [*drawn, "judges.csv", "judged_differences.csv"])
    assert not (report.folder / "judge_former_win_rate_vs_noise.png").exists()
    before = {name: (report.folder / name).read_bytes() for name in [*drawn, "summary.csv"]}
    assert main(["--from-csv", str(report.folder)]) == 0
    assert {name: (report.folder / name).read_bytes() for name in before} == before


def test_two_models_are_named_and_not_by_what_follows_from_them(tmp_path):
    for model, epochs in (("tfidf", 5), ("tiny_reward", 30)):
        for loss in ("ramp", "logistic"):
            accuracy = {"test/label_accuracy": 0.6, "test/label_accuracy_se": 0.01}
            write_run(
                tmp_path / "runs",
                dataset="hh",
                loss=loss,
                model_name=model,
                epochs=epochs,
                metrics=accuracy | {"test/order_accuracy": None},
            )
    collection = Collection.from_runs(tmp_path / "runs")
    assert settings(collection.cells) == ["model", "job.epochs"]
    report = write_report(collection, tmp_path / "out")
    assert (
        "Accuracy on test labels as released (test/label_accuracy, %), last epoch: hh, symmetric "
        "noise, reward_model, model = tfidf\n"
    ) in report.table
    assert (tmp_path / "out/label_accuracy_vs_noise__hh_symmetric_model=tiny_reward.png").exists()


def test_a_cell_that_diverged_late_is_missing_once(tmp_path):
    write_policy_sweep(tmp_path / "runs", {"ramp": None}, [0.1], [0])
    history = policy_history("ramp", 0.1, 1)
    history[-1] |= {"policy/win_rate": None, "validation/noisy_accuracy": 0.0}
    write_run(
        tmp_path / "runs",
        job="policy",
        dataset="gold_language",
        loss="ramp",
        seed=1,
        history=history,
    )
    report = write_report(Collection.from_runs(tmp_path / "runs"), tmp_path / "out")
    assert "(n=1 of 2)" in report.table
    assert "(n=2)" in report.table
    assert "missing: 1 cell" in report.table and "1 cells" not in report.table


@pytest.mark.parametrize("unfinished", [False, True])
def test_nothing_to_report_exits_2_in_one_sentence(tmp_path, capsys, unfinished):
    runs = tmp_path / "runs"
    if unfinished:
        write_run(runs, complete=False)
    assert main([str(runs)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert str(runs) in said
    with pytest.raises(BadInput):
        write_report(Collection.from_runs(runs), tmp_path / "out")


def test_analysis_imports_no_torch():
    code = "import sys, sympo.analysis; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
