"""Parts of the GPU measurements: resumed, stopped in time, one failure does not end the rest."""

import json
import sys
import time
from pathlib import Path

import pytest

from experiments.benchmarks import gpu
from experiments.benchmarks.gpu import Records, run_parts


def part(path: Path, code: str = "") -> list[list[str]]:
    """A command that adds a line to a file, and then does something."""
    return [["-c", f"open({str(path)!r}, 'a').write('ran\\n')\n{code}"]]


def runs(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_finished_parts_are_skipped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    a, b, records = tmp_path / "a", tmp_path / "b", Records(tmp_path / "records", "card")
    fails_once = f"import sys; sys.exit(len(open({str(b)!r}).readlines()) == 1)"
    plan = {"first": part(a), "second": part(b, fails_once)}
    assert run_parts(plan, records, 60) == 1
    assert capfd.readouterr().out.splitlines()[-2:] == ["done: first", "failed: second"]
    assert run_parts(plan, records, 60) == 0
    assert (runs(a), runs(b)) == (1, 2)
    out = capfd.readouterr().out.splitlines()
    assert out[:2] == ["done: first", "left: second"] and out[-1] == "done: first, second"


def test_another_card_or_other_sources_run_again(tmp_path: Path) -> None:
    a, records = tmp_path / "a", Records(tmp_path / "records", "card")
    plan = {"first": part(a)}
    run_parts(plan, records, 60)
    run_parts(plan, Records(records.folder, "another card"), 60)
    run_parts(plan, Records(records.folder, "another card"), 60)
    assert runs(a) == 2
    changed = Records(records.folder, "another card")
    changed.made_by["sources"] = "changed"
    run_parts(plan, changed, 60)
    assert runs(a) == 3
    record = json.loads((records.folder / "first.json").read_text())
    assert record["sources"] == "changed" and record["device"] == "another card"


def test_a_part_is_stopped_in_time_with_its_processes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    late, after = tmp_path / "late", tmp_path / "after"
    child = f"import time; time.sleep(4); open({str(late)!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    plan = {"slow": part(tmp_path / "slow", code), "next": part(after)}
    start = time.monotonic()
    assert run_parts(plan, Records(tmp_path / "records", "card"), 1.5) == 1
    assert time.monotonic() - start < 4
    assert runs(after) == 1 and "stopped: its time is over" in capfd.readouterr().out
    time.sleep(max(0.0, 5 - (time.monotonic() - start)))
    assert not late.exists()


def test_parts_are_planned_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--data", "rows", "--dry-run", "tests", "1b-hh"])
    assert gpu.main() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "dpo_vs_trl" in first and "--batch 64 --micro-batch 8 16 32 64 " in first
    assert "--compile" not in first and "pytest" in second


def test_each_comparison_has_its_own_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--data", "rows", "--dry-run", *gpu.TRL])
    assert gpu.main() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    names = [line[line.index("--name") + 1] for line in lines]
    assert len(set(names)) == len(gpu.TRL) and "dpo_vs_trl_3b_hh_512" in names
    for name, line in zip(names, lines, strict=True):
        assert name.endswith("_compiled") == ("--compile" in line)
        assert name.startswith(line[2].split(".")[-1])
