"""The judge of docs/extending.md."""

import json
from pathlib import Path

import pytest
import yaml
from my_judge import MyJudge

from experiments.cells import build_judge
from sympo.judges import Verdicts, judge_lines, judge_run
from tests.judges.made_study import made_run
from tests.judges.scripted import line

LINES = [line(1, "a long answer", "no"), line(2, "short", "a long answer"), line(3, "ab", "abc")]


def test_lines_in_metrics_out() -> None:
    assert judge_lines(LINES, MyJudge())["win_rate"] == pytest.approx(1 / 3)
    assert judge_lines(LINES, MyJudge(tie_within=3))["win_rate"] == 0.5


def test_run_folder_in_metrics_out(tmp_path: Path) -> None:
    folder = made_run(tmp_path, "ramp", 0.3, 0, LINES)
    verdicts, judge = Verdicts(tmp_path / "verdicts.sqlite"), MyJudge(samples=["last"])
    found = judge_run(folder, judge, verdicts=verdicts)
    assert found.fresh and found.metrics["last"]["win_rate"] == pytest.approx(1 / 3)
    (file,) = (folder / "judges").iterdir()
    assert file.name.startswith("my_judge-")
    assert json.loads(file.read_text())["config"]["judge"] == "my_judge"
    assert not judge_run(folder, judge, verdicts=verdicts).fresh


def test_option_in_conf(root: Path) -> None:
    file = root / "tests" / "extensions" / "conf" / "judge" / "my_judge.yaml"
    judge = build_judge(file.stem, yaml.safe_load(file.read_text()))
    assert judge == MyJudge(tie_within=10)
    assert judge.key() == {"judge": "my_judge", "tie_within": 10}
