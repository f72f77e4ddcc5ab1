"""Two sweeps of seconds, and what must be the same after any fault."""

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import batches
from experiments.cells import Planned, prepare
from experiments.report import outcomes, report
from sympo.pipelines.progress import Terminal
from sympo.pipelines.result import RunResult
from sympo.pipelines.runner import run_cells
from tests.helpers.configs import composed

_COMMON = ["wandb.mode=disabled", "threads=1", "device=cpu", "noise=0.4"]
_DIGITS = [
    "job.epochs=2", "dataset.train_pairs=60", "dataset.validation_pairs=60",
    "dataset.test_pairs=100", "job.evaluate_every=1",
]  # fmt: skip
_POLICIES = [
    "job=policy", "judge=gold", "dataset.corpus_texts=40", "dataset.train_pairs=16",
    "dataset.validation_pairs=16", "dataset.test_pairs=16", "job.epochs=1", "job.batch_size=8",
    "job.evaluate_every=1", "job.sft.epochs=1", "job.sampling.prompts=8", "model.hidden_size=8",
    "model.intermediate_size=8", "model.heads=2", "job.checkpoint_minutes=0",
]  # fmt: skip
LOSSES = ("ramp", "logistic")
# entries of summaries and judged files that no two runs have in common
_PASSING = {
    "started", "wall_seconds", "peak_memory_bytes", "content_digest", "judged", "trained_together",
    "environment",  # what the process that ran the cell has compiled
}  # fmt: skip
# files that name a folder or a moment
_UNCOMPARED = {"config.yaml", "made.json", "report.html", ".lock", "error.log"}


@dataclass(frozen=True)
class Sweep:
    """Two cells, one a loss. processes: how many workers share them, a batch each. reports: whether
    a report follows, which takes longer than all else."""

    settings: tuple[str, ...]
    processes: int = 1
    reports: bool = False

    def run(self, results: Path) -> int:
        """Run the cells, as `python run.py -m` does after composing; its exit code."""
        planned = [self._planned(results, loss) for loss in LOSSES]
        if self.processes > 1:
            alone = [[one] for one in planned]
            screen = Terminal(open(1, "w", closefd=False))  # noqa: SIM115
            found = [one for (one,) in batches.run_in_processes(alone, self.processes, screen)]
        else:
            found = run_cells([one.cell for one in planned], wait=True)
        if self.reports:
            report(found, results / "latest", lambda folders: ("made.json", str(len(folders))))
        return int(any(_failed(one) for one in (*found, *outcomes)))

    def _planned(self, results: Path, loss: str) -> Planned:
        config, choices = _composed((f"loss={loss}", *_COMMON, *self.settings))
        config.results_dir, config.report_dir = str(results), str(results / "latest")
        return Planned(prepare(config, choices), dict(choices))


_kept: dict[tuple[str, ...], Any] = {}


def _composed(overrides: tuple[str, ...]) -> Any:
    # kept, so that a forked process need not compose
    if overrides not in _kept:
        _kept[overrides] = composed(*overrides)
    config, choices = _kept[overrides]
    return config.copy(), choices


def _failed(result: RunResult) -> bool:
    return result.status not in ("complete", "skipped")


DIGITS = Sweep(tuple(_DIGITS))
REPORTED = Sweep(tuple(_DIGITS), reports=True)
POLICIES = Sweep(tuple(_POLICIES))


def cells(results: Path) -> list[Path]:
    """The complete cells of a sweep, relative to its folder."""
    return sorted(file.parent.relative_to(results) for file in results.glob("runs/**/summary.json"))


def content(results: Path) -> dict[str, Any]:
    """What is to be the same bit by bit, by file; keys alone show what a fault has left behind."""
    return {
        str(file.relative_to(results)): _content(file)
        for file in sorted(results.rglob("*"))
        if file.is_file() and not file.name.endswith(".lock")
    }


def _content(file: Path) -> Any:
    if file.name in _UNCOMPARED or file.suffix in (".png", ".pdf") or ".damaged" in file.name:
        return None
    if file.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(file)) as db:
            return db.execute(
                "SELECT key, judge, choice, raw FROM verdicts ORDER BY key"
            ).fetchall()
    if file.name == "summary.json" or file.parent.name == "judges":
        return _lasting(json.loads(file.read_bytes()))
    return file.read_bytes()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in _PASSING}
    return value


def differing(undisturbed: dict[str, Any], found: dict[str, Any]) -> Sequence[str]:
    """The files that differ, are missing, or were left behind."""
    return sorted(
        name
        for name in undisturbed.keys() | found.keys()
        if undisturbed.get(name, b"missing") != found.get(name, b"missing")
    )
