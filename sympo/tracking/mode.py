"""Whether runs are mirrored to W&B, decided without importing it and without a prompt."""

import netrc
import os
from typing import Literal, cast
from urllib.parse import urlparse

from sympo.types import BadInput

MODES = ("auto", "online", "offline", "disabled")
Mode = Literal["online", "offline", "disabled"]
SERVER = "https://api.wandb.ai"


def resolve_mode(mode: str) -> Mode:
    """Resolve `auto` to `online` if an API key is configured, else to `disabled`; never prompt.

    Raises BadInput on an unknown mode, and on `online` without a key.
    """
    if mode not in MODES:
        raise BadInput(f"wandb.mode={mode} is not known: use one of {', '.join(MODES)}")
    if mode == "auto":
        return "online" if has_key() else "disabled"
    if mode == "online" and not has_key():
        raise BadInput(
            "wandb.mode=online needs an API key: set WANDB_API_KEY or run `wandb login`, or use "
            "wandb.mode=offline"
        )
    return cast(Mode, mode)


def hint(mode: str) -> str | None:
    """A line for users whose runs `auto` does not mirror; None if there is nothing to say."""
    if mode != "auto" or has_key():
        return None
    return "W&B is off: no API key is configured (wandb login, or wandb.mode=offline)"


def server() -> str:
    """The address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or SERVER


def has_key() -> bool:
    """Whether an API key is configured for the server."""
    # looked up here, because importing wandb takes a second and its own look-up may prompt
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlparse(server()).hostname or ""
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def under_agent() -> bool:
    """Whether a W&B agent started this process for a run of its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))
