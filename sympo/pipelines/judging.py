"""Judges a run folder and shows progress, after training or as a separate job."""

from pathlib import Path

from sympo.judges.judged_runs import DatasetOf, Failed, Verdicts, try_judge_run
from sympo.pipelines.progress import Progress
from sympo.pipelines.result import RunResult
from sympo.protocols.judging import Judge


def judged(
    folder: Path,
    title: str,
    name: str,
    judge: Judge,
    verdicts: Verdicts,
    progress: Progress,
    dataset_of: DatasetOf,
) -> RunResult:
    """Judge a complete run whose lock the caller holds; failures are shown, not raised."""
    found = try_judge_run(
        folder, judge, dataset_of, name, verdicts,
        lambda text: progress.status(f"judge={name}: {text}"),
    )  # fmt: skip
    if isinstance(found, Failed):
        reason = found.reason
        if verdicts.since:
            reason += " (omit force=true, which asks for every verdict again)"
        progress.end(f"judge={name} failed: {reason}")
        return RunResult(title, folder, "failed", reason, found.log, found.final)
    if not found.fresh:
        progress.note(f"judge={name}: already judged")
        return RunResult(title, folder, "skipped")
    progress.end(f"judge={name}: {found.words}")
    return RunResult(title, folder, "complete")
