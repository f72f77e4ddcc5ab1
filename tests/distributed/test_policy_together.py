"""job=policy by several processes as a user runs it: the numbers of one process, and kills."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.same_runs import CELL, by_one_process, check_same, check_same_cell
from tests.helpers.commands import cells
from tests.helpers.policies import history
from tests.helpers.processes import errors, processes_of, run_together, start_together

LONGER = [*CELL, "job.epochs=12", "job.evaluate_every=3", "distributed=ddp"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of two processes, and what they said."""
    results = tmp_path_factory.mktemp("two")
    code, out, err = run_together(results, 2, *CELL)
    assert code == 0, err
    return results, out


def test_one_process_and_two_measure_the_same(
    two: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (together,) = cells(two[0]).values()
    check_same_cell(together, by_one_process(tmp_path, monkeypatch))


def test_stages_progress_and_folder_are_those_of_one(two: tuple[Path, str]) -> None:
    results, out = two
    assert len(cells(results)) == 1
    made = [line.split("  ")[-1].split(":")[0] for line in out.splitlines() if ": made in" in line]
    assert sorted(made) == ["pairs", "reference-answers", "reference-logps", "sft"]
    assert out.count("at the last epoch") == 1
    (path,) = cells(results).values()
    assert [line["epoch"] for line in history(path)] == [0, 1, 2]
    assert {file.name for file in path.iterdir()} == {
        "config.yaml", "data.json", "metrics.jsonl", "summary.json", ".lock", "samples",
        "policy", "policy_selected", "suspects.csv",
    }  # fmt: skip


@pytest.fixture(scope="module")
def longer(two: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of `LONGER` by two processes, with the same stages."""
    results = tmp_path_factory.mktemp("longer")
    shutil.copytree(two[0] / "stages", results / "stages")
    code, _, err = run_together(results, 2, *LONGER)
    assert code == 0, err
    return results


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "then"), [(0, 2), (1, 1)])
def test_a_killed_process_ends_the_others_which_save(
    longer: Path, tmp_path: Path, killed: int, then: int
) -> None:
    said = _kill(longer, tmp_path, killed, *LONGER)
    assert "saved a checkpoint at epoch" in said and said.endswith("the same command resumes")
    _resume(longer, tmp_path, then, *LONGER)


@pytest.mark.slow
def test_divided_weights_give_the_same_run_and_resume_by_another_number(
    longer: Path, tmp_path: Path
) -> None:
    divided = [*LONGER[:-1], "distributed=fsdp", "job.checkpoint_minutes=0"]
    said = _kill(longer, tmp_path, 1, *divided)
    assert said.endswith("the same command resumes")
    _resume(longer, tmp_path, 3, *divided)
    (path,) = cells(tmp_path).values()
    (expected,) = cells(longer).values()
    mine, theirs = (
        load_file(folder / "policy" / "model.safetensors") for folder in (path, expected)
    )
    assert mine.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.allclose(mine[name], weight, atol=1e-4), name


@pytest.mark.slow
def test_sweeps_run_cell_after_cell_and_report_once(two: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(two[0] / "stages", tmp_path / "stages")
    sweep = ["-m", *CELL[:-1], "loss=ramp,logistic", "job.warmup_steps=1"]
    code, out, err = run_together(tmp_path, 2, *sweep)
    assert code == 0, err
    assert len(cells(tmp_path)) == 2 and "2 cells: 2 run, 0 already complete, 0 failed" in out
    assert out.count("implicit_accuracy_vs_noise.png") == 1
    code, out, err = run_together(tmp_path, 2, *sweep)
    assert code == 0, err
    assert "2 cells: 0 run, 2 already complete, 0 failed" in out


@pytest.mark.slow
def test_a_loss_that_diverges_fails_its_cell_alone(two: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(two[0] / "stages", tmp_path / "stages")
    sweep = ["-m", *CELL, "loss=ramp,exponential", "job.learning_rate=1e9"]
    code, out, _ = run_together(tmp_path, 2, *sweep)
    assert code == 1
    # both diverge, and neither ends the processes
    assert "2 cells: 0 run, 0 already complete, 2 failed" in out, out


@pytest.mark.slow
def test_bad_settings_are_reported_once(tmp_path: Path) -> None:
    for arguments, words in (
        ([*CELL, "job.batch_size=0"], "job.batch_size=0"),
        ([one for one in CELL if one != "distributed=ddp"], "add distributed=ddp"),
    ):
        _, out, err = run_together(tmp_path / "r", 2, *arguments)
        (line,) = errors(err)
        assert words in line and out == "" and not (tmp_path / "r").exists()


def _kill(longer: Path, results: Path, rank: int, *cell: str) -> str:
    """Kill one of two processes in training; returns what the other one says."""
    shutil.copytree(longer / "stages", results / "stages")
    process = start_together(results, 2, *cell)
    deadline = time.monotonic() + 240
    while _evaluations(results) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(processes_of(results)[rank], signal.SIGKILL)
    at = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - at < 20 and not processes_of(results)
    (path,) = cells(results).values()
    assert not (path / "summary.json").exists()
    (line,) = errors(err)
    return line


def _resume(longer: Path, results: Path, processes: int, *cell: str) -> None:
    """Resume a killed run, and compare it with the undisturbed one."""
    code, out, err = run_together(results, processes, *cell)
    assert code == 0, err
    assert "resumes from epoch" in out and out.count(": made in") == 0
    (path,), (undisturbed,) = (cells(one).values() for one in (results, longer))
    check_same(path, undisturbed)


def _evaluations(results: Path) -> int:
    return sum(len(f.read_text().splitlines()) for f in results.glob("runs/**/metrics.jsonl"))
