"""The report of a sweep: the command that it records, and what its config asks of it."""

from pathlib import Path
from typing import Any

from experiments.report import command
from experiments.report_settings import check_settings_exist
from sympo.report_settings import ReportSettings
from sympo.types import BadInput
from tests.helpers.commands import SMALL_IMAGES, cells, run


def test_commands_name_no_paths(tmp_path: Path) -> None:
    folder = tmp_path / "noise=0"  # Hydra needs quotes around it
    folder.mkdir()
    paths = [f'judge.name_or_path="{folder}"', f"dataset.path={tmp_path}", "results_dir=x"]
    expected = "python run.py -m judge.name_or_path=FOLDER dataset.path=FOLDER seed=1"
    assert command("-m ", [*paths, "seed=1"]) == expected


def refused(**comparison: Any) -> str:
    given = {"name": "mine", "metric": "test/spearman"} | comparison
    cells = [{"dataset": {"train_pairs": 500, "own": {"depth": 1}}, "loss": {"_target_": "x"}}]
    try:
        check_settings_exist(ReportSettings.of({"comparisons": [given]}), cells)
    except BadInput as error:
        return str(error)
    return ""


def test_settings_of_a_report_exist_in_a_cell_or_in_an_option() -> None:
    assert not refused(x="dataset.own.depth", lines=["loss", "epoch"], panels="loss.assumed_rate")
    assert not refused(x="job.margin.beta", where={"loss": ["ramp", "ipo"], "noise": 0.1})
    assert refused(x="dataset.train_pair").endswith("did you mean dataset.train_pairs?")
    assert "comparisons[0].lines=train_pairs: there is no such key" in refused(lines="train_pairs")
    assert refused(where={"loss": "rmap"}) == (
        "report.comparisons[0].where.loss=rmap: there is no such key; did you mean ramp?"
    )


def test_a_sweep_draws_its_comparisons_and_states_its_claims(tmp_path: Path) -> None:
    claim = (
        "{claim: A claim, source: here, kind: greater, metric: last/test/spearman, "
        "a: {loss: ramp}, b: {loss: logistic}}"
    )
    asked = [
        "report.comparisons=[{name: rank, metric: test/spearman, lines: [loss, noise_model]}]",
        f"report.claims=[{claim}]",
    ]
    sweep = ["-m", "loss=ramp,logistic", "noise=0.3", "seed=0,1", *SMALL_IMAGES]
    code, out, err = run(tmp_path, *sweep, "report.claims=[{claim: A}]")
    assert (code, cells(tmp_path)) == (2, {}) and "report.claims[0].source is missing" in err
    code, out, err = run(tmp_path, *sweep, *asked, figures=True)
    assert code == 0, err
    said = "No outcome: A claim (here): it rests on 2 shared seeds, and needs 3."
    assert said in out
    assert str(tmp_path / "latest/rank.png") in out
    made = {file.name for file in (tmp_path / "latest").iterdir()}
    assert {"rank.png", "rank.csv", "report.json", "claims.csv", "comparisons.csv"} <= made
    config = next(iter(cells(tmp_path).values())) / "config.yaml"
    assert "\nreport:" not in config.read_text()
