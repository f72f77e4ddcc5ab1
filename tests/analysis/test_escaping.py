"""Names and texts of others do nothing in a page, a spreadsheet or a terminal."""

from pathlib import Path

import pandas as pd
import pytest

from sympo.analysis import Collection, report
from sympo.analysis.csv import write_csv
from tests.analysis.synthetic import write_run

FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]
PLAIN = ["ramp", "-0.5", "+1e-3", "-", "-inf", "a=b", "", "'quoted"]


def test_a_formula_is_a_text_in_a_spreadsheet(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"text": [*FORMULAS, *PLAIN, None], "n": range(15)}), tmp_path / "x.csv")
    read = pd.read_csv(tmp_path / "x.csv", dtype=str, keep_default_na=False)["text"].tolist()
    assert read == [*(f"'{one}" for one in FORMULAS), *PLAIN, ""]
    # written again, it stays as it is
    write_csv(pd.DataFrame({"text": read}), tmp_path / "y.csv")
    again = pd.read_csv(tmp_path / "y.csv", dtype=str, keep_default_na=False)["text"].tolist()
    assert again == read


def test_numbers_in_columns_of_texts_read_back_as_numbers(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"x": ["-1.5", "2", None]}), tmp_path / "x.csv")
    assert pd.read_csv(tmp_path / "x.csv")["x"].tolist()[:2] == [-1.5, 2.0]


def test_names_do_nothing_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # drawing takes seconds, and is not what is tested
    monkeypatch.setattr(report, "save_figure", lambda figure, stem: [stem.with_suffix(".png")])
    names = ["<img src=x onerror=alert(1)>", "\x1b[2J\x07", "=1+1"]
    for loss in ("ramp", *names):
        write_run(tmp_path / "runs", loss=loss, epochs=2)
    written = report.write_report(Collection.from_runs(tmp_path / "runs"), tmp_path)
    assert written.table.replace("\n", "").isprintable()
    page = (tmp_path / "report.html").read_text()
    assert "<img src=x" not in page and "\x1b" not in page
    for name in ("cells.csv", "summary.csv"):
        found = set(pd.read_csv(tmp_path / name, dtype=str)["loss"])
        assert found == {"ramp", *names[:2], "'=1+1"}
