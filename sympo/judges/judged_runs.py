"""Judging the samples that policies left in run folders."""

import json
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from sympo.judges.cache import VerdictCache
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judging import Judged, Line, judge_answers, questions
from sympo.judges.metrics import Metrics, judged_metrics
from sympo.judges.samples import Samples
from sympo.protocols.judging import Judge, JudgedData, JudgeStopped
from sympo.runs.folder import run_folders
from sympo.runs.names import CellName
from sympo.types import BadArgument, BadInput, Comparison, printable

# in a results folder
CACHE = Path("stages") / "verdicts.sqlite"
_STARTED = time.time()

DatasetOf = Callable[[Path], JudgedData]
Status = Callable[[str], None]


@dataclass(frozen=True)
class Verdicts:
    """The file of verdicts, and since when they count (0 for all): with force, earlier ones are
    dropped. Unparsable replies are asked again once in a run of the program."""

    path: Path
    since: float = 0.0

    def of(self, judge: Judge) -> VerdictCache:
        """The verdicts of one judge."""
        return VerdictCache(self.path, judge, retried=_STARTED)


@dataclass(frozen=True)
class JudgedRun:
    """A run folder that is judged. metrics: by samples, `last` and `selected`. fresh: whether it
    was judged now and not before. words: the result in a few words."""

    metrics: Mapping[str, Metrics]
    fresh: bool
    words: str


@dataclass(frozen=True)
class Failed:
    """A run folder that could not be judged: why, and the log with details. final: whether other
    runs would fail, too."""

    reason: str
    log: Path
    final: bool


def judge_run(
    folder: str | Path,
    judge: Judge,
    *,
    dataset: JudgedData | None = None,
    name: str | None = None,
    verdicts: Verdicts | None = None,
    status: Status = lambda _: None,
) -> JudgedRun:
    """Judge the samples of a run, leaving `judges/<name>-<hash>.json` in its folder.

    dataset: the run's, if the judge asks for it. name: the judge's in tables, by default its stable
    name. verdicts: where they are kept, by default in `stages` beside `runs`. Samples that are
    judged already are not judged again. Nothing else may write to the run meanwhile (`.lock`).

    Raises BadInput, and JudgeStopped if the judge could not answer everything, or all its replies
    are unparsable.
    """
    folder = Path(folder)
    if not (folder / "summary.json").is_file():
        raise BadArgument("folder", folder, "is not a complete run folder: it lacks summary.json")
    judge = judge if dataset is None else judge.of(dataset)
    name = name or judge.stable_name
    verdicts = verdicts or Verdicts(folder.absolute().parents[5] / CACHE)
    file = JudgedFile(folder, name, judge)
    file.adopt()
    left = [which for which in judge.samples if not file.holds(which, verdicts.since)]
    if left:
        judge.check()
        cache = verdicts.of(judge)
        try:
            judged = [_judge_samples(file, which, cache, verdicts.since, status) for which in left]
        finally:
            cache.close()
        if unread := next(filter(None, map(_unread, reversed(judged))), ""):
            raise JudgeStopped(f"no verdict could be parsed; the judge replied: {unread[:200]!r}")
    metrics = {which: file.metrics(which) for which in judge.samples}
    return JudgedRun(metrics, bool(left), _words(metrics, judge))


def try_judge_run(
    folder: Path,
    judge: Judge,
    dataset_of: DatasetOf | None,
    name: str,
    verdicts: Verdicts,
    status: Status,
) -> JudgedRun | Failed:
    """`judge_run`; an error is written to `judges/<name>.error.log` and returned."""
    log = folder / "judges" / f"{name}.error.log"
    try:
        dataset = dataset_of(folder) if dataset_of else None
        judged = judge_run(
            folder, judge, dataset=dataset, name=name, verdicts=verdicts, status=status
        )
    except Exception as error:  # verdicts so far are in the cache
        known = isinstance(error, BadInput | JudgeStopped)
        reason = "" if known else f"{type(error).__name__}: "
        reason = printable(f"{reason}{' '.join(str(error).split())}".removesuffix(": "))
        with suppress(OSError):
            log.parent.mkdir(exist_ok=True)
            log.write_text("".join(traceback.format_exception(error)))
        return Failed(reason, log, isinstance(error, JudgeStopped) and error.final)
    log.unlink(missing_ok=True)
    return judged


def judge_lines(lines: Sequence[Line], judge: Judge, dataset: JudgedData | None = None) -> Metrics:
    """The metrics of responses that are at hand, such as `metrics["win_rate"]`.

    lines: each with `id`, `prompt` (a text or a list of messages), `policy`, and the opponent's
    response under the name in `judge.against`. Verdicts are not kept.
    """
    judge = judge if dataset is None else judge.of(dataset)
    with tempfile.TemporaryDirectory() as folder:
        cache = VerdictCache(Path(folder) / CACHE.name, judge)
        try:
            judged = judge_answers(judge, lines, cache, lambda *_: None)
        finally:
            cache.close()
    return judged_metrics(judged.items)


def judgeable(runs: Path, judge: Judge, dataset_of: DatasetOf | None) -> list[Path]:
    """The complete runs below a folder that left samples; raises BadInput if there are none, or if
    one cannot be read."""
    if not runs.is_dir():
        raise BadArgument("runs", runs, "is not a folder: give one that holds run folders")
    found = []
    for folder in sorted(map(Path, run_folders(runs))):
        there = [Samples(folder, which) for which in judge.samples]
        if (folder / "summary.json").is_file() and all(one.path.is_file() for one in there):
            run_title(folder)
            _bound(judge, folder, dataset_of)
            for one in there:
                one.lines(judge.against)
            found.append(folder)
    if not found:
        lacking = f"samples/{judge.samples[0]}.jsonl, which job=policy leaves"
        raise BadArgument("runs", runs, f"holds no complete run with {lacking}")
    return found


def estimate(
    folders: Sequence[Path],
    judge: Judge,
    dataset_of: DatasetOf | None,
    name: str,
    verdicts: Verdicts,
) -> str:
    """What is left to ask, and its cost; empty for judges that cost nothing."""
    if not judge.estimate([]):
        return ""
    left: dict[bytes, Comparison] = {}
    cache = verdicts.of(judge)
    try:
        for folder in folders:
            file = JudgedFile(folder, name, _bound(judge, folder, dataset_of))
            for samples in (Samples(folder, which) for which in judge.samples):
                if not file.holds(samples.which, verdicts.since):
                    left |= questions(judge, samples.lines(judge.against), cache)
        known = {} if verdicts.since else cache.find(left)
    finally:
        cache.close()
    return judge.estimate([one for key, one in left.items() if key not in known])


def run_title(folder: Path) -> str:
    """The name of a run, by its summary; raises BadInput."""
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        name = CellName(**{one.name: summary[one.name] for one in fields(CellName)})
        return printable(str(name))
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not the summary of a run ({type(error).__name__})") from error


def _judge_samples(
    file: JudgedFile, which: str, cache: VerdictCache, since: float, status: Status
) -> Judged:
    judge, samples = file.judge, Samples(file.folder, which)
    lines = samples.lines(judge.against)
    if since:
        cache.forget(questions(judge, lines, cache), since)
        file.drop(which)
    judged = judge_answers(
        judge, lines, cache,
        lambda there, of: status(f"{there:,} of {of:,} verdicts  {judge.cost()}"),
    )  # fmt: skip
    file.add(samples, judged)
    return judged


def _unread(judged: Judged) -> str:
    """An unparsable reply if all are; empty otherwise."""
    choices = {one["choice"] for item in judged.items for one in item["verdicts"]}
    return judged.words if choices == {None} else ""


def _words(metrics: Mapping[str, Metrics], judge: Judge) -> str:
    which = judge.samples[0]
    found = metrics[which]
    words = f"win rate {_percent(found['win_rate'])} over {judge.against}, {which}"
    if found["invalid_rate"]:
        words += f", {_percent(found['invalid_rate'])} invalid"
    return f"{words}  {judge.cost()}".rstrip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _bound(judge: Judge, folder: Path, dataset_of: DatasetOf | None) -> Judge:
    try:
        return judge.of(dataset_of(folder)) if dataset_of else judge
    except BadArgument as error:
        raise BadInput(f"{error} (run {folder})") from error
