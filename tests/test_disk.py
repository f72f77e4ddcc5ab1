"""Folders that can be written to, files that are whole, and what killed processes leave."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.report import outcomes, report
from sympo.analysis.__main__ import main
from sympo.disk import check_folder, litter, remove_litter, temporary_name, write_atomically
from sympo.identity import Identity
from sympo.pipelines.progress import Terminal
from sympo.pipelines.result import RunResult
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName
from sympo.types import BadInput, printable
from tests.analysis.synthetic import write_run


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_folders_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder("report_dir", tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    for folder in ("x" * 300, "y/" * 3000, "a\0b", str(tmp_path / "file" / "inside")):
        with pytest.raises(BadInput, match=r"^report_dir=") as error:
            check_folder("report_dir", folder)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadInput, match="is not a writable folder"):
        check_folder("report_dir", tmp_path)


def test_a_write_that_fails_leaves_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_litter_is_what_no_living_process_owns(tmp_path: Path, dead: int) -> None:
    of_dead = temporary_name("report").replace(f"-{os.getpid()}-", f"-{dead}-")
    left = [f".config.yaml.{dead}", f"{of_dead}ab_c1"]
    kept = [
        f".config.yaml.{os.getpid()}", temporary_name("report") + "abc", ".lock", "config.yaml",
        f".report-elsewhere-{dead}-abc", ".report-abc", ".sft-0a.lock",
        f".zcompdump.{dead}",
    ]  # fmt: skip
    for name in (*left, *kept):
        (tmp_path / name).mkdir() if "report" in name else (tmp_path / name).write_text("")
    (tmp_path / left[1] / "figure.png").write_text("")
    assert sorted(path.name for path in litter(tmp_path)) == sorted(left)
    remove_litter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    old = time.time() - 2 * 24 * 60 * 60  # of a process elsewhere, or of a version without owners
    for name in kept:
        os.utime(tmp_path / name, (old, old))
    remove_litter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([
        ".lock", ".sft-0a.lock", "config.yaml", f".zcompdump.{dead}",
    ])  # fmt: skip


def test_the_next_run_cleans_its_folder(tmp_path: Path, dead: int) -> None:
    cell = RunFolder(
        tmp_path, CellName("policy", "d", "ramp", 0.3, "symmetric", "m", 0), Identity({})
    )
    assert cell.acquire()
    (cell.path / f".config.yaml.{dead}").write_text("")
    cell.start("noise: 0.3\n", since=0)
    assert {file.name for file in cell.path.iterdir()} == {".lock", "config.yaml", "unfinished"}
    cell.log(1, {})
    cell.finish({"epoch": 1}, {"epoch": 1}, 1.0)
    # killed while it was run again by force
    cell.unfinished.mkdir()
    (cell.path / "metrics.jsonl.new").write_text("")
    (cell.path / f".summary.json.{dead}").write_text("")
    cell.tidy()
    cell.release()
    whole = {".lock", "config.yaml", "metrics.jsonl", "summary.json"}
    assert {file.name for file in cell.path.iterdir()} == whole


def test_analysis_into_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "cells.csv").mkdir(parents=True)
    for out in ("file", "taken", "x" * 300):
        assert main([str(tmp_path / "runs"), "--out", str(tmp_path / out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"--out={tmp_path}")


def test_all_cells_that_failed_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_run(tmp_path / "runs")
    gone = [whole.with_name(f"seed={seed}-0a1b2c3d") for seed in (1, 2)]
    found = [RunResult("a", whole, "complete")]
    found += [RunResult("b", folder, "failed", "no\x1b[31m space") for folder in gone]
    report(found, tmp_path / "latest", lambda folders: ("made.json", str(len(folders))))
    out = capsys.readouterr().out
    assert "unfinished runs: 2 of" in out and "2 failed" in out
    assert "no\\x1b[31m space" in out and (tmp_path / "latest" / "made.json").read_text() == "1"
    assert not outcomes


def test_cells_set_aside_are_named_if_no_others_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [write_run(tmp_path / "runs", tag=tag) for tag in "ab"]
    found = [RunResult(folder.name, folder, "complete") for folder in same]
    report(found, tmp_path / "latest", lambda folders: ("made.json", ""))
    out = capsys.readouterr().out
    assert "not drawn: at one seed" in out and str(same[0]) in out
    assert outcomes.pop().status == "failed" and not outcomes


def test_what_is_no_character_to_see_is_escaped() -> None:
    assert printable("a\x1b[31m\r\n\t\u202eé…±") == "a\\x1b[31m\\r\\n\\t\\u202eé…±"
    shown = io.StringIO()
    Terminal(shown).line(0, "loss=\x07\x1b]0;title")
    assert shown.getvalue() == "loss=\\x07\\x1b]0;title\n"
