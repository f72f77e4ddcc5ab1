"""Mirrors a cell to Weights & Biases. Run folders stay the truth; W&B errors never fail a run."""

import hashlib
import netrc
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

from sympo.runs.folder import RunFolder
from sympo.types import BadInput

MODES = ("auto", "online", "offline", "disabled")
SECONDS_TO_CONNECT = 30


def resolve_mode(mode: str) -> str:
    """Resolve `auto` to `online` if an API key is configured, else to `disabled`; never prompt.

    Raises BadInput on an unknown mode, and on `online` without a key.
    """
    if mode not in MODES:
        raise BadInput(f"wandb.mode={mode} is not known: use one of {', '.join(MODES)}")
    if mode == "auto":
        return "online" if _has_key() else "disabled"
    if mode == "online" and not _has_key():
        raise BadInput(
            "wandb.mode=online needs an API key: set WANDB_API_KEY or run `wandb login`, or use "
            "wandb.mode=offline"
        )
    return mode


def hint(mode: str) -> str | None:
    """A line for users whose runs `auto` does not mirror; None if there is nothing to say."""
    if mode != "auto" or _has_key():
        return None
    return "W&B is off: no API key is configured (wandb login, or wandb.mode=offline)"


def _has_key() -> bool:
    # looked up here, because importing wandb takes a second and its own look-up may prompt
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Tracker:
    """One W&B run for one cell.

    Its id is derived from the folder's name, so that a cell that runs again, after a kill or by
    force, replaces its earlier run instead of appearing twice.

    settings: `mode`, `project`, `entity` and `group`, as in `conf/config.yaml`.
    config: the cell's resolved config.
    """

    # whether a server was unreachable: later cells do not wait for it again
    given_up = False

    def __init__(
        self, folder: RunFolder, settings: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        self._run: Any = None
        mode: Any = resolve_mode(settings["mode"])
        directory = folder.path.absolute()
        # an interrupted offline run would be uploaded beside its successor
        shutil.rmtree(directory / "wandb", ignore_errors=True)
        if mode == "disabled" or Tracker.given_up:
            return
        name = folder.name
        relative = "/".join(directory.parts[-5:])
        with self._never_fatal(give_up=True):
            import wandb

            self._run = wandb.init(
                mode=mode,
                dir=directory,
                project=settings["project"],
                entity=settings["entity"],
                group=settings["group"],
                job_type=name.job,
                name=str(name),
                id=hashlib.blake2b(relative.encode(), digest_size=8).hexdigest(),
                tags=[name.dataset, name.loss, name.noise_model],
                config={**config, "folder": relative},
                settings=wandb.Settings(
                    init_timeout=SECONDS_TO_CONNECT,
                    console="off",
                    silent=True,
                    x_disable_stats=True,
                    reinit="create_new",  # cells that are trained together are open together
                ),
            )

    def log(self, epoch: float, metrics: Mapping[str, float | None]) -> None:
        """Mirror one evaluation."""
        if self._run is not None:
            known = {key: value for key, value in metrics.items() if value is not None}
            with self._never_fatal():
                self._run.log({"epoch": epoch, **known})

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """End the run: finished if the cell has a summary, failed if it has none."""
        if self._run is not None:
            with self._never_fatal():
                if summary is not None:
                    kept = ("last", "selected", "hash", "git_commit")
                    self._run.summary.update({key: summary[key] for key in kept})
                self._run.finish(exit_code=0 if summary is not None else 1)

    @contextmanager
    def _never_fatal(self, give_up: bool = False) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            Tracker.given_up |= give_up
            print(f"W&B {'disabled' if give_up else 'failed'}: {reason}", file=sys.stderr)
