"""Judging what policies answered: a job over runs that are there, and a policy's last stage."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from experiments.cells import build_judge
from experiments.report import command, outcomes, report
from experiments.settings import check_keys, kept, resolved, unknown
from sympo.disk import check_folder
from sympo.judges.cache import VerdictCache
from sympo.judges.judged_file import JudgedFile, Samples
from sympo.judges.judging import judge_answers, questions
from sympo.pipelines.cell import STARTED
from sympo.pipelines.progress import Progress, heading, percent
from sympo.pipelines.result import RunResult
from sympo.protocols.judging import Judge, JudgeStopped
from sympo.runs.folder import CellName, git_commit, run_folders
from sympo.types import BadInput, Comparison, printable

CACHE = Path("stages") / "verdicts.sqlite"
# what may be set for this job; the rest of the config belongs to jobs that make runs
SETTINGS: dict[str, Any] = {
    "job": dict, "judge": dict | None, "runs": str, "results_dir": str, "report_dir": str,
    "device": str, "threads": int | None, "force": bool,
}  # fmt: skip


class JudgeJob:
    """Judges the samples of every complete run below `runs`, and draws what came out."""

    @staticmethod
    def start(config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Judge, one run after the other; one that fails stops no other.

        Raises BadInput before any work.
        """
        if "judge" not in choices:  # Hydra keeps none of several
            given = next((one for one in overrides if one.startswith("judge=")), "judge")
            raise BadInput(f"{given}: a group takes the name of one of its options")
        settings, name = resolved(config), str(choices["judge"])
        for override in overrides:
            key = override.lstrip("+~").split("=")[0].split(".")[0]
            if key not in SETTINGS:
                raise BadInput(f"{override}: {unknown(key, list(SETTINGS))} for job=judge")
        check_keys("", {key: settings[key] for key in SETTINGS}, SETTINGS)
        if settings["judge"] is None:
            raise BadInput("judge is not set: give one, such as judge=openai")
        for key in ("results_dir", "report_dir"):
            check_folder(key, settings[key])
        if settings["threads"] is not None:
            if settings["threads"] < 1:
                raise BadInput(
                    f"threads={settings['threads']} is not allowed: it must be at least 1"
                )
            torch.set_num_threads(settings["threads"])
        judge = build_judge(name, settings["judge"])
        folders = _judgeable(settings["runs"], judge)
        since = STARTED if settings["force"] else 0.0
        verdicts = Verdicts(Path(settings["results_dir"]) / CACHE, since)
        if told := _estimate(folders, name, judge, verdicts):
            print(f"judge={name}: {told}", flush=True)
        found: list[RunResult] = []
        for place, folder in enumerate(folders, 1):
            if found and found[-1].final:
                found.append(RunResult(_title(folder), folder, "failed", "not tried", final=True))
                continue
            title = _title(folder)
            progress = Progress(heading(place, len(folders), title), 1)
            with FileLock(folder / ".lock"):
                found.append(judged(folder, title, name, judge, verdicts, progress))
        outcomes.extend(found)
        report(
            found, Path(settings["report_dir"]), partial(_provenance, name, judge, overrides),
            ("runs", "judged", "judged before"),
        )  # fmt: skip


@dataclass(frozen=True)
class Verdicts:
    """Where verdicts are kept, and since when they count (0 for all): by force, those from before
    are dropped. Words without a verdict are asked for again once in a run of the program."""

    path: Path
    since: float

    def of(self, judge: Judge) -> VerdictCache:
        return VerdictCache(self.path, judge.key(), retried=STARTED)


def judged(
    folder: Path, title: str, name: str, judge: Judge, verdicts: Verdicts, progress: Progress
) -> RunResult:
    """Judge a complete run, whose lock the caller holds; what fails is told and raises nothing."""
    try:
        new = judge_run(folder, name, judge, verdicts, progress.status)
    except Exception as error:  # what came before is in the cache
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        if verdicts.since:
            reason += " (without force=true, which asks for all again)"
        progress.end(f"judge={name} failed: {reason}")
        log = folder / "judges" / f"{name}.error.log"
        with suppress(OSError):
            log.parent.mkdir(exist_ok=True)
            log.write_text("".join(traceback.format_exception(error)))
        return RunResult(title, folder, "failed", reason, log, getattr(error, "final", False))
    (folder / "judges" / f"{name}.error.log").unlink(missing_ok=True)
    if new is None:
        progress.note(f"judge={name}: judged already")
        return RunResult(title, folder, "skipped")
    progress.end(f"judge={name}: {new}")
    return RunResult(title, folder, "complete")


def judge_run(
    folder: Path, name: str, judge: Judge, verdicts: Verdicts, status: Callable[[str], None]
) -> str | None:
    """Judge the samples of a run, leaving `judges/<name>-<hash>.json` in its folder.

    Returns in a few words what came out; None where all was judged before.
    Raises JudgeStopped where the judge could not answer everything, or nothing that it said could
    be parsed.
    """
    judge = judge.of(_dataset(folder))
    file = JudgedFile(folder, name, judge)
    left = [which for which in judge.samples if not file.holds(which, verdicts.since)]
    if not left:
        return None
    cache, unread = verdicts.of(judge), ""
    try:
        for which in left:
            samples = Samples(folder, which)
            lines = samples.lines(judge.against)
            if verdicts.since:
                cache.forget(questions(judge, lines, cache), verdicts.since)
                file.drop(which)
            found = judge_answers(
                judge, lines, cache,
                lambda there, of: status(
                    f"judge={name}: {there:,} of {of:,} verdicts  {judge.cost()}"
                ),
            )  # fmt: skip
            file.add(samples, found)
            choices = [one["choice"] for item in found.items for one in item["verdicts"]]
            if choices and set(choices) == {None}:
                unread = found.words
    finally:
        cache.close()
    metrics = file.metrics(judge.samples[0])
    if unread:
        raise JudgeStopped(f"no verdict could be read; the judge said: {unread[:200]!r}")
    told = f"win rate {percent(metrics['win_rate'])} over {judge.against}, {judge.samples[0]}"
    invalid = f", {percent(metrics['invalid_rate'])} invalid" * bool(metrics["invalid_rate"])
    return f"{told}{invalid}  {judge.cost()}".rstrip()


def _judgeable(runs: str, judge: Judge) -> list[Path]:
    """The complete runs that left answers, all of whose samples can be read."""
    if not Path(runs).is_dir():
        raise BadInput(f"runs={runs} is not a folder: give one that holds run folders")
    found = []
    for folder in sorted(map(Path, run_folders(runs))):
        there = [Samples(folder, which) for which in judge.samples]
        if (folder / "summary.json").is_file() and all(one.path.is_file() for one in there):
            _title(folder)
            judge.of(_dataset(folder))
            for one in there:
                one.lines(judge.against)
            found.append(folder)
    if not found:
        raise BadInput(
            f"runs={runs} holds no complete run with samples/{judge.samples[0]}.jsonl, which "
            "job=policy leaves"
        )
    return found


def _estimate(folders: Sequence[Path], name: str, judge: Judge, verdicts: Verdicts) -> str:
    """What is left to ask, and what it will cost; empty for judges that cost nothing."""
    if not judge.estimate([]):
        return ""
    cache = verdicts.of(judge)
    left: dict[bytes, Comparison] = {}
    for folder in folders:
        file = JudgedFile(folder, name, judge.of(_dataset(folder)))
        for samples in (Samples(folder, which) for which in judge.samples):
            if not file.holds(samples.which, verdicts.since):
                left |= questions(judge, samples.lines(judge.against), cache)
    for key in () if verdicts.since else cache.get(left):
        del left[key]
    cache.close()
    return judge.estimate(list(left.values()))


def _title(folder: Path) -> str:
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        name = CellName(**{one.name: summary[one.name] for one in fields(CellName)})
        return printable(str(name))
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not the summary of a run ({type(error).__name__})") from error


def _dataset(folder: Path) -> Any:
    """The data set of a run, by its config; its files are not read."""
    file = folder / "config.yaml"
    try:
        config = OmegaConf.load(file)
        assert isinstance(config, DictConfig)
        settings = resolved(config)["dataset"]
        return kept("dataset", str(folder.parts[-4]), json.dumps(settings, sort_keys=True))
    except BadInput as error:
        raise BadInput(f"{file} is not the config of a run: {error}") from error
    except (OSError, YAMLError, OmegaConfBaseException, AssertionError, KeyError, TypeError,
            AttributeError, ValueError, RecursionError) as error:  # fmt: skip
        raise BadInput(f"{file} is not the config of a run ({type(error).__name__})") from error


def _provenance(
    name: str, judge: Judge, overrides: Sequence[str], folders: Sequence[Path]
) -> tuple[str, str]:
    """What judged the runs: the command, the judge's settings, how many runs; JSON."""
    judges: dict[str, dict[str, Any]] = {}
    for folder in folders:
        file = JudgedFile(folder, name, judge.of(_dataset(folder)))
        empty = {"config": file.config, "runs": 0, "prompt_tokens": 0, "completion_tokens": 0}
        told = judges.setdefault(file.path.stem, empty)
        told["runs"] += file.path.is_file()
        for samples in file.samples.values():
            for key in ("prompt_tokens", "completion_tokens"):
                told[key] += samples.get(key, 0)
    made = {"command": command("", overrides), "git_commit": git_commit(), "judges": judges}
    return f"judging-{name}.json", json.dumps(made, indent=1) + "\n"
