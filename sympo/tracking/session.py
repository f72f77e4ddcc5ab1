"""A W&B run that never stops the program: errors become one sentence each."""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from sympo.tracking.mode import Mode, under_agent

SECONDS_TO_CONNECT = 30
# for uploads at the end of a run, if the server stops answering
SECONDS_TO_FINISH = 300
# W&B's limits, in characters
LONGEST_NAME, LONGEST_TAG = 128, 64


class Session:
    """A W&B run; if W&B is off or does not start, every method does nothing.

    mode: from `resolve_mode`. An `online` run whose server cannot be reached is kept offline, and
        so are all later runs of this process.
    directory: gets the folder `wandb`, for everything that W&B writes, in place of that of an
        earlier run: otherwise an interrupted offline run would be uploaded beside its successor.
    key: what the run is about; equal keys give one id, so that a repeated run replaces the earlier
        one instead of appearing twice.
    project, entity, group, job_type, name, tags, config: as in `wandb.init`.
    metadata: record the host, the command and the installed packages, which takes 0.3 s.
    """

    # what this process has found out: W&B does not start at all, or its server is unreachable
    given_up = False
    unreachable = False
    _held: ClassVar[set[str]] = set()
    _said: ClassVar[set[str]] = set()

    def __init__(
        self,
        mode: Mode,
        directory: Path,
        key: str,
        *,
        project: str,
        entity: str | None,
        group: str | None,
        job_type: str,
        name: str,
        tags: list[str],
        config: Mapping[str, Any],
        metadata: bool = False,
    ) -> None:
        self._run: Any = None
        self.directory = directory.absolute()
        own = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        # an agent waits for the run that it has named
        self.id = os.environ.get("WANDB_RUN_ID", own) if under_agent() else own
        shutil.rmtree(self.directory / "wandb", ignore_errors=True)
        self._about: dict[str, Any] = {
            "dir": self.directory,
            "project": project,
            "entity": entity,
            "group": shortened(group, LONGEST_NAME) if group else None,
            "job_type": job_type,
            "name": shortened(name, LONGEST_NAME),
            "tags": [tag[:LONGEST_TAG] for tag in tags],
            "config": dict(config),
        }
        if mode == "online" and not (Session.given_up or Session.unreachable):
            self._start("online", metadata)
        if mode != "disabled" and self._run is None and not Session.given_up:
            self._start("offline", metadata)

    @property
    def active(self) -> bool:
        return self._run is not None

    def log(self, values: Mapping[str, Any]) -> None:
        """Log values, of which `epoch` is the horizontal axis of all others."""
        if self._run is not None:
            with self.harmless():
                self._run.log(dict(values))

    def update(
        self, *, config: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None
    ) -> None:
        """Add to the config and to the summary."""
        if self._run is not None:
            with self.harmless():
                self._run.config.update(dict(config or {}), allow_val_change=True)
                self._run.summary.update(dict(summary or {}))

    def log_table(
        self, name: str, columns: list[str], rows: list[list[Any]], **beside: float
    ) -> None:
        """Log a table. beside: values of the same step, such as the epoch."""
        if self._run is not None:
            with self.harmless():
                import wandb

                table = wandb.Table(columns=[*columns], data=[*rows])
                self._run.log({name: table, **beside})

    def log_image(self, name: str, file: Path, caption: str = "", **beside: float) -> None:
        """Log a PNG file, which is copied. beside: values of the same step."""
        if self._run is not None:
            with self.harmless():
                import wandb

                self._run.log({name: wandb.Image(str(file), caption=caption or None), **beside})

    def log_files(self, name: str, kind: str, files: list[Path]) -> None:
        """Log files, which are copied, as one artifact."""
        if self._run is not None:
            with self.harmless():
                import wandb

                artifact = wandb.Artifact(name, type=kind)
                for file in files:
                    artifact.add_file(str(file), name=file.name)
                self._run.log_artifact(artifact)

    def finish(self, failed: bool = False) -> None:
        """End the run."""
        if self._run is not None:
            run, self._run = self._run, None
            try:
                run.finish(exit_code=int(failed))
            except Exception as error:
                if isinstance(error, TimeoutError):  # other runs would wait as long
                    Session.unreachable = True
                self._say(f"W&B failed: {_reason(error)}")

    def _start(self, mode: Mode, metadata: bool) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # before the import, which prints
        try:
            import wandb
        except Exception as error:
            Session.given_up = True
            self._say(f"W&B disabled: {_reason(error)}")
            return
        # its log is a file, and each line that a full disk refuses would print a traceback
        logging.getLogger("wandb").disabled = True
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                mode=mode,
                id=f"{self.id}-offline" if self.id in Session._held else self.id,
                settings=wandb.Settings(
                    init_timeout=SECONDS_TO_CONNECT,
                    finish_timeout=SECONDS_TO_FINISH,
                    finish_timeout_raises=True,
                    console="off",
                    silent=True,
                    x_disable_stats=True,
                    # these take most of the time that W&B needs to start a run
                    x_disable_meta=not metadata,
                    x_save_requirements=metadata,
                    disable_git=not metadata,
                    disable_code=True,
                    reinit="create_new",  # cells that are trained together are open together
                ),
                **self._about,
            )
            # the axis itself is no chart
            self._run.define_metric("epoch", hidden=True)
            self._run.define_metric("*", step_metric="epoch")
        except Exception as error:
            if mode == "online":
                Session.unreachable = True
                # W&B's service still holds the id of the run that did not start
                Session._held.add(self.id)
                self._say(f"W&B: {_reason(error)}; runs are kept offline")
            else:
                Session.given_up = True
                self._say(f"W&B disabled: {_reason(error)}")

    @contextmanager
    def harmless(self) -> Iterator[None]:
        own = "WANDB_DATA_DIR" not in os.environ
        if own:  # otherwise W&B copies tables and artifacts to the home folder first
            os.environ["WANDB_DATA_DIR"] = str(self.directory / "wandb")
        try:
            yield
        except Exception as error:
            self._say(f"W&B failed: {_reason(error)}")
        finally:
            if own:
                del os.environ["WANDB_DATA_DIR"]

    def _say(self, sentence: str) -> None:
        """Print a sentence once per process."""
        if sentence not in Session._said:
            Session._said.add(sentence)
            print(sentence, file=sys.stderr)


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters; a hash replaces the end of a longer one."""
    if len(text) <= most:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{text[: most - 10]}… {digest}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # without paths, which differ every time
        return error.strerror
    # the first line; others give advice about Python
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
