import json
import multiprocessing
from pathlib import Path

import pytest

from sympo.disk import write_atomically
from sympo.identity import Identity, digest
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName

NAME = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
IDENTITY = Identity({"dataset": {"_identity_": "x", "pairs": 10}, "noise": 0.3, "seed": 0})


def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, NAME, IDENTITY)


def test_a_run_from_start_to_summary(tmp_path: Path) -> None:
    run = folder(tmp_path)
    expected = tmp_path / "runs/reward_model/digits/ramp/noise=0.3" / f"seed=0-{run.hash}"
    assert run.path == expected
    assert run.acquire()
    run.start("noise: 0.3\n", since=0)
    run.log(1, {"a": 0.5, "b": None, "c": float("nan")})
    run.log(2, {"a": 0.7})
    assert not run.complete
    run.finish(
        {"epoch": 2, "a": 0.7}, {"epoch": 1, "a": float("inf")}, 3.25, device="cpu", epochs=2
    )
    run.release()
    assert run.complete
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"epoch": 1, "a": 0.5, "b": None, "c": None}, {"epoch": 2, "a": 0.7}]
    summary = run.summary()
    assert summary["last"] == {"epoch": 2, "a": 0.7}
    assert summary["selected"] == {"epoch": 1, "a": None}
    assert {"versions", "git_commit", "device", "wall_seconds", "epochs"} <= set(summary)
    assert summary["hash"] == run.hash == digest(summary["config"])


def test_restarting_removes_the_unfinished_run(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.acquire()
    run.start("x: 1\n", since=0)
    run.log(1, {"a": 1.0})
    run.fail(RuntimeError("broken"))
    assert "RuntimeError: broken" in run.error_log.read_text()
    run.start("x: 1\n", since=0)
    assert not (run.path / "metrics.jsonl").exists() and not run.error_log.exists()
    run.release()


def test_a_complete_run_stays_valid_until_its_rerun_is_complete(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.acquire()
    for value in (0.5, 0.75):
        run.start("x: 1\n", since=0)
        run.log(1, {"a": value})
        if value == 0.75:
            again = folder(tmp_path)
            assert again.complete and again.summary()["last"]["a"] == 0.5
            assert json.loads((run.path / "metrics.jsonl").read_text())["a"] == 0.5
        run.finish({"epoch": 1, "a": value}, {"epoch": 1, "a": value}, 1.0)
    assert run.summary()["last"]["a"] == 0.75
    assert json.loads((run.path / "metrics.jsonl").read_text())["a"] == 0.75
    assert {file.name for file in run.path.iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json", ".lock"}  # fmt: skip
    assert run.completed_since(run.summary()["started"] - 1)
    assert not run.completed_since(run.summary()["started"] + 3600)
    run.release()


def _try(path: Path, queue: multiprocessing.Queue) -> None:
    run = folder(path)
    queue.put((run.busy, run.acquire()))


def test_a_locked_cell_is_busy_for_another_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    run = folder(tmp_path)
    assert run.acquire()
    for expected in ((True, False), (False, True)):
        process = context.Process(target=_try, args=(tmp_path, queue))
        process.start()
        assert queue.get(timeout=60) == expected
        process.join()
        run.release()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    write_atomically(target, "old")
    with pytest.raises(TypeError):
        write_atomically(target, 3)  # type: ignore[arg-type]
    assert target.read_text() == "old"
