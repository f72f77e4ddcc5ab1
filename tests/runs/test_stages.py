"""Shared stages are made once, atomically, by one process at a time."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from sympo.disk import content_digest
from sympo.identity import Identity
from sympo.runs import stages as stages_module
from sympo.runs.stages import Stages


def make(folder: Path) -> None:
    (folder / "weights").write_text("1")


def test_a_stage_is_made_once_and_reused(tmp_path: Path) -> None:
    notes: list[str] = []
    stages = Stages(tmp_path, notes.append)
    calls = []
    for _ in range(3):
        folder = stages.get(
            "sft", Identity({"a": 1}), lambda path: (calls.append(path), make(path))[0]
        )
    assert len(calls) == 1 and (folder / "weights").read_text() == "1"
    assert json.loads((folder / "key.json").read_text()) == {
        "stage": "sft", "a": 1, "identity": 2, "at_default": [],
        "files": {"weights": [1, content_digest(b"1")]},
    }  # fmt: skip
    assert folder.name == f"sft-{Identity({'a': 1}).digest(8)}"
    assert [note.split(":")[1].split()[0] for note in notes] == ["making", "made"]


def test_a_changed_key_makes_another_stage(tmp_path: Path) -> None:
    stages = Stages(tmp_path, lambda note: None)
    assert stages.get("sft", Identity({"a": 1}), make) != stages.get(
        "sft", Identity({"a": 2}), make
    )
    assert Identity({"a": 1, "b": 2}).digest(8) == Identity({"b": 2, "a": 1}).digest(8)


def test_a_stage_older_than_since_is_made_again(tmp_path: Path) -> None:
    Stages(tmp_path, lambda note: None).get("sft", Identity({}), make)

    def make_other(folder: Path) -> None:
        (folder / "weights").write_text("2")

    notes: list[str] = []
    young = Stages(tmp_path, notes.append, since=time.time() + 1)
    os.utime(tmp_path / f"sft-{Identity({}).digest(8)}" / "key.json", (0, 0))
    young.since = 1.0
    folder = young.get("sft", Identity({}), make_other)
    assert (folder / "weights").read_text() == "2" and notes[0] == "sft: making"
    assert (
        young.get("sft", Identity({}), make) == folder and (folder / "weights").read_text() == "2"
    )
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    stages = Stages(tmp_path, lambda note: None)

    def fail(folder: Path) -> None:
        make(folder)
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        stages.get("sft", Identity({}), fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (stages.get("sft", Identity({}), make) / "weights").is_file()


def slow(root: Path, log: Path) -> None:
    def work(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        make(folder)
        time.sleep(1.5)

    Stages(root, lambda note: None).get("sft", Identity({}), work)


def test_parallel_processes_make_a_stage_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    both = [context.Process(target=slow, args=(tmp_path / "stages", log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log, root = tmp_path / "log", tmp_path / "stages"
    process = context.Process(target=slow, args=(root, log))
    process.start()
    deadline = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not [path for path in root.iterdir() if path.name.startswith("sft")]
    folder = Stages(root, lambda note: None).get("sft", Identity({}), make)
    assert [path for path in root.iterdir() if path.is_dir()] == [folder]


DAMAGE = {
    "flipped": (lambda stage: (stage / "weights").write_text("2"), "weights is damaged"),
    "truncated": (lambda stage: (stage / "weights").write_text(""), "0 of 1 bytes"),
    "missing": (lambda stage: (stage / "weights").unlink(), "weights is missing"),
    "broken key": (lambda stage: (stage / "key.json").write_text("{"), "key.json is damaged"),
    "odd key": (
        lambda stage: (stage / "key.json").write_text(
            '{"stage": "sft", "a": 1, "at_default": [], "files": [3]}'
        ),
        "key.json is damaged",
    ),
    "another key": (
        lambda stage: (stage / "key.json").write_text(
            '{"stage": "sft", "a": 2, "at_default": [], "files": {}}'
        ),
        "key.json does not belong to its stage",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_stage_is_set_aside_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = Stages(tmp_path, lambda note: None).get("sft", Identity({"a": 1}), make)
    for _ in range(2):
        monkeypatch.setattr(stages_module, "_read", set())
        damage, words = DAMAGE[kind]
        damage(folder)
        notes: list[str] = []
        again = Stages(tmp_path, notes.append).get("sft", Identity({"a": 1}), make)
        assert again == folder and (folder / "weights").read_text() == "1"
        assert words in notes[0] and f"set aside as {folder}.damaged" in notes[0]
    assert (tmp_path / f"{folder.name}.damaged-2").is_dir()


def test_sizes_are_checked_every_time_and_digests_once(tmp_path: Path) -> None:
    notes: list[str] = []
    stages = Stages(tmp_path, notes.append)
    folder = stages.get("sft", Identity({}), make)
    (folder / "weights").write_text("2")  # this process has already verified it
    assert (stages.get("sft", Identity({}), make) / "weights").read_text() == "2"
    (folder / "weights").write_text("22")
    assert (stages.get("sft", Identity({}), make) / "weights").read_text() == "1"
    assert "2 of 1 bytes" in notes[-3]
