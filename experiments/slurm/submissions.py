"""What a submitted array leaves on disk: its cells, its number in the queue, and its outcomes.

`<results_dir>/slurm_jobs/<name>/` holds `cells.json` (the settings of every task's cells, fixed
when they were submitted), `job.json`, `outcomes/<task>.json`, submitit's files, and the logs.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sympo.disk import read_if_there, write_atomically
from sympo.pipelines.result import RunResult

if TYPE_CHECKING:
    from experiments.cells import Planned


@dataclass(frozen=True)
class SubmittedCell:
    """A cell of a task: what to show, its absolute run folder, its settings, its chosen options."""

    cell: str
    folder: str
    config: dict[str, Any]
    choices: dict[str, Any]

    @classmethod
    def of(cls, one: "Planned") -> "SubmittedCell":
        cell = one.cell
        folder = str(cell.folder.path.absolute())
        return cls(str(cell.name), folder, cell.config, dict(one.choices))

    @property
    def work(self) -> tuple[str, str]:
        """Equal for cells that leave the same files: a cell may be judged by several judges."""
        return self.folder, json.dumps([self.config["judge"], self.config.get("sampler")])


@dataclass(frozen=True)
class QueuedTask:
    """A task in SLURM's queue. id: its number there. number: its place in the submission."""

    id: str
    submission: "Submission"
    number: int
    cells: tuple[SubmittedCell, ...]

    @property
    def log(self) -> Path:
        return self.submission.folder / f"{self.id}_0_log.out"

    def outcomes(self) -> list[RunResult] | None:
        """The results of its cells, in order; None if the task has not written them."""
        content = read_if_there(self.submission.outcome_file(self.number))
        return None if content is None else [_result(one) for one in json.loads(content)]


@dataclass(frozen=True)
class Submission:
    """The folder of one submitted array."""

    folder: Path

    @classmethod
    def new(cls, results_dir: str | Path, tasks: Sequence[Sequence["Planned"]]) -> "Submission":
        """Make a folder under a free name, and write the cells of each task into it.

        Only its owner may open it: tasks unpickle the files that submitit writes there.
        """
        root = Path(results_dir).absolute() / "slurm_jobs"
        root.mkdir(parents=True, exist_ok=True)
        made = cls(root / uuid.uuid4().hex[:8])
        made.folder.mkdir(mode=0o700)
        (made.folder / "outcomes").mkdir()
        cells = [[asdict(SubmittedCell.of(one)) for one in task] for task in tasks]
        write_atomically(made.folder / "cells.json", json.dumps(cells))
        return made

    def cells(self) -> list[tuple[SubmittedCell, ...]]:
        """The cells of each task."""
        tasks = json.loads((self.folder / "cells.json").read_bytes())
        return [tuple(SubmittedCell(**one) for one in task) for task in tasks]

    def queued_as(self, job: str) -> None:
        """Record the number of the array in the queue."""
        write_atomically(self.folder / "job.json", json.dumps({"job": job}))

    @property
    def job(self) -> str:
        """The number of the array in the queue; empty if it was not submitted."""
        content = read_if_there(self.folder / "job.json")
        return "" if content is None else str(json.loads(content)["job"])

    def tasks(self) -> list[QueuedTask]:
        """Its tasks; submitit submits a single one as a job without an array."""
        job, cells = self.job, self.cells()
        ids = [job] if len(cells) == 1 else [f"{job}_{number}" for number in range(len(cells))]
        return [
            QueuedTask(ids[number], self, number, task) for number, task in enumerate(cells)
        ]  # fmt: skip

    def outcome_file(self, number: int) -> Path:
        return self.folder / "outcomes" / f"{number}.json"

    def write_outcomes(self, number: int, found: Sequence[RunResult]) -> None:
        """Write the results of a task's cells, in order."""
        results = [{**asdict(one), "folder": str(one.folder)} for one in found]
        for one in results:
            one["log"] = None if one["log"] is None else str(one["log"])
        write_atomically(self.outcome_file(number), json.dumps(results))


def submissions(results_dir: str | Path) -> Iterator[Submission]:
    """All submitted arrays below a results folder."""
    for file in sorted((Path(results_dir) / "slurm_jobs").glob("*/job.json")):
        yield Submission(file.parent.absolute())


def _result(one: dict[str, Any]) -> RunResult:
    log = None if one["log"] is None else Path(one["log"])
    return RunResult(**{**one, "folder": Path(one["folder"]), "log": log})
