"""W&B without a key, and no memory of earlier errors."""

from pathlib import Path

import pytest

from sympo.tracking.session import Session


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(Session, "given_up", False)
    monkeypatch.setattr(Session, "unreachable", False)
    monkeypatch.setattr(Session, "_said", set())
