import subprocess
import sys

import pytest
from synthetic import write_run, write_sweep

from sympo.analysis import Collection, write_report
from sympo.analysis.__main__ import main
from sympo.types import BadInput


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
    assert "policy/win_rate (%), last epoch" in report.table
    assert "60.0 ±0.0 (n=2)" in report.table
    assert (tmp_path / "out/win_rate_vs_noise.png").exists()
    assert not (tmp_path / "out/accuracy_vs_noise.png").exists()


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
