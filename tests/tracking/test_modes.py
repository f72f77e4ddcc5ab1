"""When runs are mirrored, and that W&B's absence stops nothing."""

import sys
from pathlib import Path

import pytest

from sympo.tracking import hint, resolve_mode
from sympo.tracking.session import Session, shortened
from sympo.types import BadInput


def session(place: Path) -> Session:
    return Session("offline", place, "key", project="sympo", entity=None, group="g", job_type="j",
                   name="n", tags=["t" * 100], config={})  # fmt: skip


def test_auto_is_disabled_without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve_mode("auto") == "disabled"
    assert "wandb.mode=offline" in (hint("auto") or "")
    assert hint("disabled") is None
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_mode("auto") == "online"
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    assert resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://[wandb")  # no address: no key
    assert resolve_mode("auto") == "disabled"


def test_impossible_modes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"online needs an API key.*offline"):
        resolve_mode("online")
    with pytest.raises(BadInput, match=r"wandb.mode=on is not known: use one of auto"):
        resolve_mode("on")


def test_a_missing_wandb_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for _ in range(3):
        found = session(tmp_path)
        found.log({"epoch": 1})
        found.finish()
        assert not found.active
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("W&B disabled: ")


def test_a_full_disk_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    found = session(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("log", "log_artifact"):
        monkeypatch.setattr(wandb.Run, name, full)
    found.log({"epoch": 1})
    found.log_table("samples", ["prompt"], [["a"]])
    found.log_files("report", "report", [])
    found.finish()
    assert capsys.readouterr().err == "W&B failed: No space left on device\n"


def test_long_names_are_cut_and_stay_different() -> None:
    one, other = (shortened("x" * 200 + end, 128) for end in "ab")
    assert len(one) == len(other) == 128 and one != other and shortened("short", 128) == "short"
