"""What judging leaves in a run folder: `judges/<name>-<hash>.json`, and nothing else."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sympo.disk import sealed, set_aside, write_atomically
from sympo.evaluation.judged_content import read
from sympo.identity import digest
from sympo.judges.former import Untranslatable, is_former
from sympo.judges.judging import Judged
from sympo.judges.metrics import Metrics, judged_metrics
from sympo.judges.samples import Samples
from sympo.protocols.judging import Judge
from sympo.runs.provenance import git_commit, versions

log = logging.getLogger(__name__)


class JudgedFile:
    """One judge's verdicts on one run.

    name: the judge's in tables; the hash is over everything that the verdicts depend on, opponent
        and protocol included.
    """

    def __init__(self, folder: Path, name: str, judge: Judge) -> None:
        self.folder, self.name, self.judge = folder, name, judge
        self.config = {**judge.key(), "against": judge.against, "protocol": judge.protocol}
        self.path = folder / "judges" / f"{name}-{digest(self.config)}.json"

    @property
    def samples(self) -> dict[str, Any]:
        """The content by samples; empty if the file is damaged, which is then set aside, with one
        line in the log."""
        found: dict[str, Any] = {}
        try:
            found = read(self.path.read_bytes())["samples"]
        except FileNotFoundError:
            if former := self._former():
                found = read(former.read_bytes())["samples"]
        except ValueError as error:
            self._set_aside(error)
        return found

    def set_aside_damaged(self) -> Path | None:
        """Set the file aside if it is damaged; its new path, None if it is whole or missing."""
        try:
            read(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            return self._set_aside(error)
        return None

    def _set_aside(self, error: ValueError) -> Path:
        aside = set_aside(self.path)
        log.warning(
            "%s is damaged (%s) and set aside as %s; judge again, or import answers again",
            self.path, error, aside.name,
        )  # fmt: skip
        return aside

    def adopt(self) -> None:
        """Rename the judge's file if an earlier version wrote it under another name.

        Only for the process that holds the run's lock.
        """
        if not self.path.is_file() and (former := self._former()):
            content = read(former.read_bytes())
            write_atomically(self.path, sealed({**content, "config": self.config}))
            former.unlink()

    def _former(self) -> Path | None:
        """The judge's file of an earlier version, under another hash."""
        for path in sorted((self.folder / "judges").glob("*.json")):
            if path != self.path and path.name.startswith(f"{self.name}-"):
                try:
                    content = read(path.read_bytes())
                    if content["judge"] == self.name and self._is_former(content["config"]):
                        return path
                except Untranslatable as error:
                    log.warning("%s may hold verdicts of this judge: %s", path, error)
                except (ValueError, OSError):  # damaged, or gone by now
                    continue
        return None

    def _is_former(self, config: Mapping[str, Any]) -> bool:
        compared = ("against", "protocol")
        settings = {key: value for key, value in config.items() if key not in compared}
        same = all(config.get(key) == self.config[key] for key in compared)
        return same and is_former(self.judge, settings)

    def holds(self, which: str, since: float = 0.0) -> bool:
        """Whether the current samples were judged after a moment, in seconds since the epoch, with
        no unparsable reply."""
        there = self.samples.get(which)
        return (
            there is not None
            and there.get("judged", 0.0) >= since
            and there["digest"] == Samples(self.folder, which).digest
            and not there["metrics"]["invalid_rate"]
        )

    def metrics(self, which: str) -> Metrics:
        """The metrics of some samples; raises KeyError if they were not judged."""
        found: Metrics = self.samples[which]["metrics"]
        return found

    def drop(self, which: str) -> None:
        """Remove what the file holds on some samples."""
        found = self.samples
        if found.pop(which, None) is not None:
            self._write(found)

    def add(self, samples: Samples, judged: Judged) -> None:
        """Write judged samples into the file, in place of earlier ones."""
        found = self.samples
        found[samples.which] = {
            "digest": samples.digest,
            "judged": time.time(),
            "metrics": judged_metrics(judged.items),
            "prompt_tokens": judged.prompt_tokens,
            "completion_tokens": judged.completion_tokens,
            "items": judged.items,
        }
        self._write(found)

    def _write(self, found: dict[str, Any]) -> None:
        content = {
            "judge": self.name,
            "config": self.config,
            "git_commit": git_commit(),
            "versions": versions(),
            "samples": found,
        }
        self.path.parent.mkdir(exist_ok=True)
        write_atomically(self.path, sealed(content))
