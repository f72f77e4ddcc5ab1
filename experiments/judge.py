"""The job that judges the responses of complete runs, or the labels of a data set."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from omegaconf import DictConfig

from experiments.cells import build_judge
from experiments.devices import reserved
from experiments.external_targets import SWITCH, refuse_external
from experiments.judge_labels import LabelsJob
from experiments.report import command, outcomes, report
from experiments.run_data import dataset_of, warn_of_leaks
from experiments.settings import check_keys, resolved, unknown
from sympo.disk import check_folder
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judged_runs import (
    CACHE,
    Verdicts,
    estimate,
    judgeable,
    run_title,
)
from sympo.pipelines.cell import STARTED, resolve_device
from sympo.pipelines.judging import judged
from sympo.pipelines.progress import Progress, heading
from sympo.pipelines.result import RunResult
from sympo.process import deterministic_algorithms
from sympo.protocols.judging import Judge, JudgedData, Split
from sympo.runs.provenance import git_commit
from sympo.types import BadInput

# the settings of this job; the others belong to jobs that train cells
SETTINGS: dict[str, Any] = {
    "job": dict, "judge": dict | None, "runs": str, "results_dir": str, "report_dir": str,
    "figures": bool, "device": str, "threads": int | None, "force": bool, "dataset": dict | None,
    "split": Split, SWITCH: bool, "deterministic": bool,
}  # fmt: skip


class JudgeJob:
    """Judges the samples of every complete run below `runs`, and plots the results; with a data
    set, its labelled pairs instead."""

    @staticmethod
    def start(config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Judge one run after another; a failed run does not stop the others.

        Raises BadInput before any work.
        """
        for group in ("judge", "dataset"):
            if group not in choices:  # Hydra drops the choice if given several
                given = next((one for one in overrides if one.startswith(f"{group}=")), group)
                raise BadInput(f"{given}: a group takes the name of one of its options")
        settings, name = {"dataset": None, **resolved(config)}, str(choices["judge"])
        if not settings[SWITCH]:
            refuse_external(settings)
        for override in overrides:
            key = override.lstrip("+~").split("=")[0].split(".")[0]
            if key not in SETTINGS:
                raise BadInput(f"{override}: {unknown(key, list(SETTINGS))} for job=judge")
        check_keys("", {key: settings[key] for key in SETTINGS}, SETTINGS)
        if settings["judge"] is None:
            raise BadInput("judge is not set: choose one, such as judge=openai")
        for key in ("results_dir", "report_dir"):
            check_folder(key, settings[key])
        if settings["threads"] is not None:
            if settings["threads"] < 1:
                raise BadInput(
                    f"threads={settings['threads']} is not allowed: it must be at least 1"
                )
            torch.set_num_threads(settings["threads"])
        of_labels = None
        if settings["dataset"] is not None:
            of_labels = LabelsJob(settings, choices, overrides)
        elif split := [one for one in overrides if one.startswith("split=")]:
            raise BadInput(f"{split[0]} is not allowed without dataset=...: it chooses its pairs")
        judge = build_judge(name, settings["judge"])
        verdicts = Verdicts(
            Path(settings["results_dir"]) / CACHE, STARTED if settings["force"] else 0.0
        )
        device = resolve_device(str(settings["judge"].get("device", "cpu")))
        with reserved([device], note=print), deterministic_algorithms(settings["deterministic"]):
            if of_labels:
                of_labels.run(name, judge, verdicts)
            else:
                JudgeJob._judge_runs(settings, name, judge, verdicts, overrides)

    @staticmethod
    def _judge_runs(
        settings: Mapping[str, Any],
        name: str,
        judge: Judge,
        verdicts: Verdicts,
        overrides: Sequence[str],
    ) -> None:
        data_of = partial(dataset_of, external=settings[SWITCH])
        folders = judgeable(Path(settings["runs"]), judge, data_of)
        warn_of_leaks(name, judge, folders, settings[SWITCH])
        if cost := estimate(folders, judge, data_of, name, verdicts):
            print(f"judge={name}: {cost}", flush=True)
        found: list[RunResult] = []
        for place, folder in enumerate(folders, 1):
            if found and found[-1].final:
                found.append(
                    RunResult(run_title(folder), folder, "failed", "not tried", final=True)
                )
                continue
            title = run_title(folder)
            progress = Progress(heading(place, len(folders), title))
            with FileLock(folder / ".lock"):
                found.append(judged(folder, title, name, judge, verdicts, progress, data_of))
        outcomes.extend(found)
        report(
            found, Path(settings["report_dir"]),
            partial(_provenance, name, judge, overrides, data_of),
            ("runs", "judged", "already judged"), figures=settings["figures"],
            typed=command("", overrides),
        )  # fmt: skip


def _provenance(
    name: str,
    judge: Judge,
    overrides: Sequence[str],
    data_of: Callable[[Path], JudgedData],
    folders: Sequence[Path],
) -> tuple[str, str]:
    """The provenance of verdicts: command, settings of the judge, number of runs; JSON."""
    judges: dict[str, dict[str, Any]] = {}
    for folder in folders:
        file = JudgedFile(folder, name, judge.of(data_of(folder)))
        empty = {"config": file.config, "runs": 0, "prompt_tokens": 0, "completion_tokens": 0}
        row = judges.setdefault(file.path.stem, empty)
        row["runs"] += file.path.is_file()
        for samples in file.samples.values():
            for key in ("prompt_tokens", "completion_tokens"):
                row[key] += samples.get(key, 0)
    made = {"command": command("", overrides), "git_commit": git_commit(), "judges": judges}
    return f"judging-{name}.json", json.dumps(made, indent=1) + "\n"
