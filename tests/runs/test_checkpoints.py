"""Cells resume from intact checkpoints of their own, and from nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sympo.identity import Identity
from sympo.runs import checkpoints
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName

NAME = CellName("policy", "gold_language", "ramp", 0.3, "symmetric", "tiny_lm", 0)


class Trainer:
    pass


class Other:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path, NAME, Identity({"a": 1}))
    run.unfinished.mkdir(parents=True)
    return run


def state() -> dict[str, Any]:
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    adam.step()
    weights = {
        "w": torch.arange(500.0).view(20, 25).T,
        "half": torch.ones((), dtype=torch.bfloat16),
    }
    return {
        "trainer": {"weights": weights, "adam": adam.state_dict(), "rng": torch.get_rng_state()},
        "evaluations": [{"epoch": 0.5, "a": 0.25, "b": None}],
        "losses": [],
    }


def test_a_cell_resumes_from_its_checkpoint(folder: RunFolder) -> None:
    assert checkpoints.load(folder, Trainer, pytest.fail) is None
    saved = state()
    checkpoints.save(saved, folder, Trainer)
    found = checkpoints.load(folder, Trainer, pytest.fail)
    assert found is not None and found["evaluations"] == saved["evaluations"]
    assert torch.equal(found["trainer"]["weights"]["w"], saved["trainer"]["weights"]["w"])
    assert [file.name for file in folder.unfinished.iterdir()] == ["checkpoint.pt"]


def saved_again(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def damage(file: Path) -> None:
        kept = torch.load(file)
        change(kept)
        torch.save(kept, file)

    return damage


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.find(torch.arange(500.0).numpy().tobytes()[40:80])
    content[place : place + 40] = bytes(byte ^ 255 for byte in content[place : place + 40])
    file.write_bytes(content)


DAMAGE = {
    "garbage": saved_again(lambda kept: kept["state"]["trainer"]["weights"]["w"].fill_(7)),
    "other shape": saved_again(
        lambda kept: kept["state"]["trainer"]["weights"].update(w=torch.zeros(25, 19))
    ),
    "missing keys": saved_again(lambda kept: kept["state"].pop("trainer")),
    "no state": saved_again(lambda kept: kept.pop("state")),
    "another cell": saved_again(lambda kept: kept.update(cell="00000000")),
    "another version": saved_again(lambda kept: kept.update(format=2)),
    "no dict": lambda file: torch.save(3, file),
    "flipped": flip,
    "torn": lambda file: file.write_bytes(file.read_bytes()[:-1000]),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_not_resumed(folder: RunFolder, kind: str) -> None:
    checkpoints.save(state(), folder, Trainer)
    DAMAGE[kind](folder.checkpoint)
    notes: list[str] = []
    assert checkpoints.load(folder, Trainer, notes.append) is None
    (note,) = notes
    assert "starts over" in note and str(folder.checkpoint) in note
    aside = folder.path / "checkpoint.pt.damaged"
    assert (f"set aside as {aside}" in note) == aside.is_file() == (not kind.startswith("another "))


def test_a_checkpoint_of_another_trainer_is_not_resumed(folder: RunFolder) -> None:
    checkpoints.save(state(), folder, Other)
    notes: list[str] = []
    assert checkpoints.load(folder, Trainer, notes.append) is None
    assert "starts over" in notes[0] and "from another trainer (Other, not Trainer)" in notes[0]


def test_a_full_disk_keeps_the_last_checkpoint(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save({"step": 1}, folder, Trainer)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save({"step": 2}, folder, Trainer)
    assert checkpoints.load(folder, Trainer, pytest.fail) == {"step": 1}
    assert [file.name for file in folder.unfinished.iterdir()] == ["checkpoint.pt"]
