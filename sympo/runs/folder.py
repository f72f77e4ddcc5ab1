"""Run folders: the name of a cell, the files it leaves, and when it counts as complete.

A folder is named after its cell: `<job>/<dataset>/<loss>/noise=<rate>/seed=<seed>-<8 hex>`. It
holds `config.yaml` (resolved), `metrics.jsonl` (one line per evaluation), `summary.json` (written
last and atomically: its presence means complete), `error.log` if the cell failed, and the outputs
of its job.
"""

import json
import math
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sympo.disk import (
    config_is_garbled,
    content_digest,
    litter,
    read_if_there,
    remove_litter,
    sealed,
    set_aside,
    with_digest,
    write_atomically,
)
from sympo.identity import FORMAT, NAME, Identity, joined
from sympo.outcomes import TestSet
from sympo.runs.names import CellName
from sympo.runs.provenance import git_commit, versions
from sympo.secrets import redacted
from sympo.types import Evaluation
from sympo.validity import history_fault, summary_fault

# files whose digests a summary holds; models have theirs beside them, read only when loaded
GUARDED = ("metrics.jsonl", "samples/*.jsonl", "suspects.csv", "data.json")
# a file in `unfinished`: all that is to replace a complete run's files is there
READY = "ready"


def run_folders(root: str | Path) -> Iterator[str]:
    """The run folders at or below a folder, which may hold all runs, the runs of one job, data set
    or loss, or be a single run."""
    root = Path(root)
    if root.name.startswith("seed=") and root.parent.name.startswith("noise="):
        yield str(root)
    elif root.is_dir():
        yield from _below(str(root), root.name.startswith("noise="), levels=4)


def _below(folder: str, of_noise: bool, levels: int) -> Iterator[str]:
    # scanned without building Path objects: there may be 100,000
    with os.scandir(folder) as inside:
        for entry in inside:
            if of_noise:
                if entry.name.startswith("seed="):
                    yield entry.path
            elif levels and entry.is_dir():
                yield from _below(entry.path, entry.name.startswith("noise="), levels - 1)


class RunFolder:
    """The folder of one cell, written only by the process that holds its lock.

    sampler: how the cell's responses are drawn, which is not part of its hash; None if the cell
        leaves no responses.
    """

    def __init__(
        self,
        results_dir: str | Path,
        name: CellName,
        identity: Identity,
        sampler: Identity | None = None,
    ) -> None:
        self.name, self.identity, self.sampler = name, identity, sampler
        self.hash = identity.digest(4)
        self.path = (
            Path(results_dir) / "runs" / name.job / name.dataset / name.loss
            / f"noise={name.noise:g}" / f"seed={name.seed}-{self.hash}"
        )  # fmt: skip
        self.error_log = self.path / "error.log"
        self.unfinished = self.path / "unfinished"
        self.checkpoint = self.unfinished / "checkpoint.pt"
        self.divided_checkpoint = self.unfinished / "checkpoint"
        self._metrics = self.path / "metrics.jsonl"
        self._lock = FileLock(self.path / ".lock")
        self._summary = self.path / "summary.json"
        self._started = 0.0
        self._judged = (0, "")

    @property
    def complete(self) -> bool:
        return self._summary.is_file() and not self.fault

    @property
    def fault(self) -> str:
        """A sentence on what is damaged in a finished run; empty if it is intact or does not exist.

        Checked once for each version of the summary.
        """
        try:
            found = self._summary.stat().st_mtime_ns
        except FileNotFoundError:
            return ""
        if self._judged[0] != found:
            self._judged = found, self._find_fault()
        return self._judged[1]

    def _find_fault(self) -> str:
        content = self._summary.read_bytes()
        fault = summary_fault(content, self.path.absolute().parts[-5:])
        if not fault:
            summary = json.loads(content)
            fault = self._settings_fault(summary)
        if fault:
            return f"{self._summary} is damaged: {fault}"
        metrics = self.path / "metrics.jsonl"
        if fault := history_fault(read_if_there(metrics), summary["last"]["epoch"]):
            return f"{metrics} is damaged: {fault}"
        for file in self._differing(summary):
            return f"{file} is damaged: it differs from what the run wrote"
        return ""

    def _differing(self, summary: Mapping[str, Any]) -> list[Path]:
        """The files that differ from what the run wrote. Deleted files do not count: only judges
        and people need those beside the evaluations."""
        found = []
        for name, digest in summary.get("files", {}).items():
            kept = read_if_there(self.path / name)
            if kept is not None and content_digest(kept) != digest:
                found.append(self.path / name)
        return found

    def _settings_fault(self, summary: Mapping[str, Any]) -> str:
        settings, at_default = summary["config"], summary.get("at_default", [])
        found = Identity(settings, frozenset(at_default)).without("sampler")
        if found.digest(4) != self.hash:
            return "config does not match its hash"
        changed = self.identity.contradiction(settings, at_default)
        return changed or self.identity.replaced(summary.get("classes", {}))

    def set_aside_damaged(self) -> str:
        """Rename the summary, the evaluations and what else is damaged of a damaged run, so that it
        runs again; returns what was damaged, empty if nothing was."""
        fault = self.fault
        if fault:
            try:
                differing = self._differing(self.summary())
            except (ValueError, RecursionError, AttributeError):  # of a damaged summary
                differing = []
            # the summary last, because without it the rest would not be looked at again
            for file in dict.fromkeys([*differing, self.path / "metrics.jsonl", self._summary]):
                if file.is_file():
                    set_aside(file, self.path)
        return fault

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._summary.read_bytes())
        return found

    def history(self) -> list[dict[str, float | None]]:
        """Every evaluation of a complete run."""
        return [json.loads(line) for line in self._metrics.read_text().splitlines() if line]

    def settings(self) -> dict[str, Any]:
        """The entries of a summary that record the cell's identity."""
        sampler = joined() if self.sampler is None else joined(sampler=self.sampler)
        return {
            "identity": FORMAT,
            "config": {**self.identity.settings, **sampler.settings},
            "at_default": sorted(self.identity.at_default | sampler.at_default),
            "classes": dict(self.identity.classes),
        }

    @property
    def other_sampler(self) -> str:
        """The sampler that drew the responses of a complete run, if it differs from the requested
        one; otherwise empty."""
        if self.sampler is None or not self._summary.is_file():
            return ""
        summary = self.summary()
        if "sampler" not in summary["config"]:
            return ""
        drew = Identity(summary["config"], frozenset(summary["at_default"]))["sampler"]
        same = drew.hashed == self.sampler.hashed
        changed = same and self.sampler.contradiction(drew.settings, sorted(drew.at_default))
        return "" if same and not changed else str(drew.hashed[NAME])

    def replace_samples(self, found: Mapping[str, Evaluation]) -> None:
        """Replace the responses of a complete run by those in `unfinished`, and its metrics by
        those measured on them. Only the last and the selected epoch are sampled again, so these
        metrics become null at all other epochs."""
        summary, history = self.summary(), self.history()
        measured = {name for evaluation in found.values() for name in evaluation.metrics}
        for line in history:
            line |= dict.fromkeys(measured & line.keys())
            for which, evaluation in found.items():
                if line["epoch"] == summary[which]["epoch"]:
                    line |= _finite(evaluation.metrics)
        for which, evaluation in found.items():
            summary[which] |= _finite(evaluation.metrics)
            summary["outcomes"][which] |= evaluation.outcomes
        text = "".join(json.dumps(line) + "\n" for line in history)
        write_atomically(self.unfinished / "metrics.jsonl", text)
        digests = self._digests(self.unfinished)
        whole = summary | self.settings() | {"files": summary["files"] | digests}
        write_atomically(self.unfinished / "summary.json", sealed(whole, indent=1))
        (self.unfinished / READY).touch()
        self.roll_forward()

    def roll_forward(self) -> None:
        """Finish replacing responses where a killed process stopped, if one did."""
        if (self.unfinished / READY).is_file():
            self._take_over_unfinished()

    def completed_since(self, moment: float) -> bool:
        """Whether the cell was completed after a moment in seconds since the epoch."""
        try:
            return self._summary.stat().st_mtime >= moment and self.complete
        except FileNotFoundError:
            return False

    def mend_config(self, config_yaml: Callable[[], str]) -> bool:
        """Rewrite a complete run's `config.yaml` if it is missing, or garbled, which sets it aside;
        returns whether it was."""
        file = self.path / "config.yaml"
        content = read_if_there(file)
        garbled = config_is_garbled(content or b"")
        if garbled:
            if content is not None:
                set_aside(file)
            self.write_config(config_yaml())
        return garbled

    def write_config(self, config_yaml: str) -> None:
        """Write `config.yaml` with its digest."""
        write_atomically(self.path / "config.yaml", with_digest(config_yaml))

    def tidy(self) -> None:
        """Remove what killed processes left in a complete run, unless another process holds it."""
        left = self.path / "metrics.jsonl.new"
        found = left.exists() or self.unfinished.exists() or litter(self.path)
        if found and self.acquire():
            shutil.rmtree(self.unfinished, ignore_errors=True)
            left.unlink(missing_ok=True)
            remove_litter(self.path)
            self.release()

    def acquire(self, wait: bool = False) -> bool:
        """Lock the cell for this process; returns False if another process holds it.

        The operating system frees the lock when its process ends, however it ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()

    @property
    def busy(self) -> bool:
        """Whether another process holds the cell."""
        if not self.acquire():
            return True
        self.release()
        return False

    def start(self, config_yaml: str, since: float) -> None:
        """Start the cell; a complete run that is forced to run again stays valid until the new run
        is complete.

        Jobs write their outputs to `unfinished`. The outputs of an earlier, unfinished run survive
        only if it left a checkpoint made after `since`.
        """
        made = (self.checkpoint, self.divided_checkpoint / "checkpoint.json")
        times = (file.stat().st_mtime for file in made if file.is_file())
        if max(times, default=-math.inf) < since:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir(exist_ok=True)
        self._metrics = self.path / ("metrics.jsonl.new" if self.complete else "metrics.jsonl")
        for old in (self._metrics, self.error_log):
            old.unlink(missing_ok=True)
        remove_litter(self.path)
        self.write_config(config_yaml)
        self._started = time.time()

    def keep_test_set(self, test_set: TestSet) -> None:
        """Keep the test set behind the summary's outcomes, once for all cells of a data set."""
        file = file_of_test_set(self.path, test_set.digest)
        try:
            whole = TestSet.load(read_if_there(file) or b"").digest == test_set.digest
        except ValueError:
            whole = False
        if not whole:
            file.parent.mkdir(exist_ok=True)
            remove_litter(file.parent)
            write_atomically(file, test_set.dump())

    def log(self, epoch: float, metrics: Mapping[str, float | None]) -> None:
        """Append one evaluation."""
        with self._metrics.open("a") as file:
            file.write(json.dumps({"epoch": epoch, **_finite(metrics)}) + "\n")

    def finish(
        self,
        last: Mapping[str, float | None],
        selected: Mapping[str, float | None],
        wall_seconds: float,
        **more: Any,
    ) -> None:
        """Write the summary, which makes the cell complete. `last` and `selected` are evaluations
        as logged in metrics.jsonl, including `epoch`."""
        name = self.name
        summary = {
            "job": name.job,
            "dataset": name.dataset,
            "loss": name.loss,
            "noise": name.noise,
            "noise_model": name.noise_model,
            "model": name.model,
            "protocol": name.protocol,
            "seed": name.seed,
            "hash": self.hash,
            "last": _finite(last),
            "selected": _finite(selected),
            **self.settings(),
            "started": self._started,
            "wall_seconds": round(wall_seconds, 3),
            "versions": versions(),
            "git_commit": git_commit(),
            **more,
        }
        for kept in (self.checkpoint, self.checkpoint.with_suffix(".new")):
            kept.unlink(missing_ok=True)
        shutil.rmtree(self.divided_checkpoint, ignore_errors=True)
        self._take_over_unfinished()
        self._metrics = self._metrics.replace(self.path / "metrics.jsonl")
        summary["files"] = self._digests(self.path)
        write_atomically(self._summary, sealed(summary, indent=1))

    def _take_over_unfinished(self) -> None:
        ready = self.unfinished / READY
        for made in self.unfinished.iterdir():
            if made != ready:
                shutil.rmtree(self.path / made.name, ignore_errors=True)
                made.replace(self.path / made.name)
        self._set_aside_verdicts()
        ready.unlink(missing_ok=True)
        self.unfinished.rmdir()

    @staticmethod
    def _digests(folder: Path) -> dict[str, str]:
        return {
            str(file.relative_to(folder)): content_digest(file.read_bytes())
            for pattern in GUARDED
            for file in sorted(folder.glob(pattern))
        }

    def _set_aside_verdicts(self) -> None:
        """Rename verdicts on responses that this run has replaced, so that they no longer count.
        They are kept, because human verdicts cannot be collected again."""
        for file in (self.path / "judges").glob("*.json"):
            content = file.read_bytes()
            try:
                fresh = all(
                    content_digest((self.path / "samples" / f"{which}.jsonl").read_bytes())
                    == judged["digest"]
                    for which, judged in json.loads(content)["samples"].items()
                )
            except (OSError, ValueError, KeyError, TypeError):
                fresh = False
            if not fresh:
                file.replace(file.with_suffix(f".{content_digest(content)}.stale"))

    def fail(self, error: BaseException) -> None:
        """Write the traceback of a failure to `error.log`."""
        self.error_log.write_text(redacted("".join(traceback.format_exception(error))))


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    # JSON has no NaN
    return {k: None if v is None or not math.isfinite(v) else v for k, v in metrics.items()}


def file_of_test_set(run: str | Path, digest: str) -> Path:
    """The file of a test set of a run: `<job>/<dataset>/test_sets/<digest>.npz`."""
    return Path(run).absolute().parents[2] / "test_sets" / f"{digest}.npz"
