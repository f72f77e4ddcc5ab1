"""Adoption of runs and stages that an earlier version kept under Python paths."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sympo.identity import Identity, identity_of, joined, part_identity
from sympo.moved import MOVED
from sympo.runs import adoption
from sympo.runs.adoption import adopt_run
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName
from sympo.runs.stages import Stages

NAME = CellName("policy", "digits", "ramp", 0.3, "symmetric", "cnn", 0)
CONFIG: dict[str, Any] = {
    "job": {"_target_": "sympo.margins.DPO", "beta": 0.1, "clip": None},
    "dataset": {"_target_": "tests.runs.old_place.Digits", "train_pairs": 10},
    "loss": {"_target_": "sympo.losses.Ramp"},
    "noise_model": {"_target_": "sympo.noise.Symmetric"},
    "model": {"_target_": "sympo.margins.IPO", "clip": None},
    "noise": 0.3,
    "seed": 0,
}
SAMPLER = {"_target_": "sympo.margins.SimPO", "beta": 2.0, "gamma": 0.5, "clip": None}


@pytest.fixture(autouse=True)
def moved(monkeypatch: pytest.MonkeyPatch) -> None:
    # a class that moved since then
    monkeypatch.setitem(MOVED, "tests.runs.old_place.Digits", "sympo.data.digits.Digits")
    for kept in (adoption._names, adoption._old_run):
        kept.cache_clear()


def old_digest(settings: Any, size: int) -> str:
    """The hash of format 1, frozen here."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def old_run(root: Path, **changes: Any) -> Path:
    """A run folder as version 1 wrote it."""
    config = CONFIG | changes
    digest = old_digest(config, 4)
    folder = root / "runs/policy/digits/ramp/noise=0.3" / f"seed=0-{digest}"
    (folder / "judges").mkdir(parents=True)
    summary = {
        "job": "policy", "dataset": "digits", "loss": "ramp", "noise": 0.3, "seed": 0,
        "noise_model": "symmetric", "model": "cnn", "hash": digest, "config": config,
        "last": {"epoch": 1}, "selected": {"epoch": 1},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (folder / "config.yaml").write_text(yaml.safe_dump({"sampler": SAMPLER}))
    (folder / "judges" / "gold-1.json").write_text("{}")
    os.utime(folder / "summary.json", (5, 5))
    return folder


def today(root: Path, **changes: Any) -> RunFolder:
    options = {key: getattr(NAME, key) for key in adoption.OPTIONS}
    identity = identity_of(CONFIG | changes, options)
    return RunFolder(root, NAME, identity, part_identity(SAMPLER))


def test_a_run_is_renamed_with_its_content(tmp_path: Path) -> None:
    old = old_run(tmp_path)
    run = today(tmp_path)
    assert not run.complete
    assert adopt_run(run, lambda: "sampler: x\n") == f"uses {old.name}, made by an earlier version"
    assert run.complete and not old.exists() and not run.fault
    assert (run.path / "judges" / "gold-1.json").is_file()
    summary = run.summary()
    assert summary["hash"] == run.hash and summary["adopted_from"] == old.name[-8:]
    assert summary["config"]["sampler"]["beta"] == 2
    assert (run.path / "summary.json").stat().st_mtime == 5
    assert adopt_run(run, lambda: "") == ""


def test_a_killed_adoption_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = old_run(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            adopt_run(today(tmp_path), lambda: "x: 1\n")
    assert "identity" in json.loads((old / "summary.json").read_text())
    adoption._old_run.cache_clear()
    run = today(tmp_path)
    assert adopt_run(run, lambda: "x: 1\n").startswith("uses ") and run.complete


def test_pairs_that_another_sampler_drew_are_not_those_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sympo.data.digits import Digits

    old = old_run(tmp_path)
    monkeypatch.setattr(Digits, "from_policy", True, raising=False)
    reason = "its pairs were drawn by sampler=simpo"
    assert adopt_run(today(tmp_path), lambda: "").endswith(f"{old.name} ({reason})")


def test_other_cells_are_left_alone(tmp_path: Path) -> None:
    old = old_run(tmp_path, job={"_target_": "sympo.margins.DPO", "beta": 0.3, "clip": None})
    run = today(tmp_path)
    assert adopt_run(run, lambda: "") == "" and old.is_dir() and not run.path.exists()
    assert adopt_run(today(tmp_path, job=CONFIG["job"] | {"beta": 0.3}), lambda: "x: 1")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: None, "class mine.Loss is not in use"),
        (lambda folder: (folder / "summary.json").write_text("{"), "damaged"),
    ],
)
def test_unusable_runs_are_listed_with_the_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    old = old_run(tmp_path, loss={"_target_": "mine.Loss"})
    damage(old)
    line = adopt_run(today(tmp_path), lambda: "")
    assert line == f"cannot use runs of an earlier version: {old.name} ({reason})"


def test_a_stage_is_renamed(tmp_path: Path) -> None:
    key = {"dataset": CONFIG["dataset"], "policy": {"sft": CONFIG["job"]}, "precision": "float32"}
    old = tmp_path / f"sft-{old_digest(key, 8)}"
    old.mkdir()
    (old / "weights").write_text("1")
    (old / "key.json").write_text(json.dumps({"stage": "sft", **key}))
    notes: list[str] = []
    new = joined(
        dataset=part_identity(CONFIG["dataset"]),
        policy=joined(sft=part_identity(CONFIG["job"])),
        precision="float32",
    )

    def make(folder: Path) -> None:
        raise AssertionError("made again")

    found = Stages(tmp_path, notes.append).get("sft", new, make)
    assert (found / "weights").read_text() == "1" and not old.exists()
    assert notes[0] == f"sft: uses {old.name}, made by an earlier version"
    # intact in today's format
    assert Stages(tmp_path, notes.append).get("sft", new, make) == found


def test_a_stage_without_a_recorded_sampler_is_made_again(tmp_path: Path) -> None:
    old = tmp_path / f"pairs-{old_digest({'seed': 1}, 8)}"
    old.mkdir()
    (old / "key.json").write_text(json.dumps({"stage": "pairs", "seed": 1}))
    notes: list[str] = []
    key = Identity({"seed": 1, "sampler": {"_identity_": "transformers"}})
    Stages(tmp_path, notes.append).get("pairs", key, lambda folder: None)
    assert notes[0] == f"pairs: {old.name} is not used: it does not record its sampler"
    assert old.is_dir()
