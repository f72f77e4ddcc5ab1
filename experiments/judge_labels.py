"""job=judge with a data set: a judge's agreement with the labels of its pairs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.external_targets import SWITCH
from experiments.report import command, outcomes
from experiments.run_data import shares_training, warn_once
from experiments.settings import kept
from sympo.disk import write_atomically
from sympo.evaluation.label_agreement import label_agreement, table
from sympo.judges.judged_runs import Verdicts
from sympo.judges.judging import Judged
from sympo.judges.labels import bound_to_labels, judge_labels, judged_labels, labels_estimate
from sympo.pipelines.progress import Progress, heading
from sympo.pipelines.result import RunResult
from sympo.protocols.judging import Judge, JudgeStopped, LabelledData
from sympo.runs.provenance import git_commit
from sympo.types import BadInput, within

# settings of a judge that choose among the responses of a policy
_OF_RUNS = ("runs", "judge.against", "judge.samples")


class LabelsJob:
    """One judge on one split of a data set."""

    def __init__(
        self, settings: Mapping[str, Any], choices: Mapping[str, Any], overrides: Sequence[str]
    ) -> None:
        """Check the settings and read the data; raises BadInput."""
        for override in overrides:
            key = override.lstrip("+~").split("=")[0]
            if key in _OF_RUNS:
                raise BadInput(
                    f"{override} is not allowed with dataset={choices['dataset']}: it is for "
                    "responses in run folders, and the judge of a data set sees its chosen and "
                    "rejected responses"
                )
        self.option, self.split = str(choices["dataset"]), settings["split"]
        self.overrides, self.out = overrides, Path(settings["report_dir"])
        self.figures = bool(settings["figures"])
        self.settings, self.external = settings["dataset"], settings[SWITCH]
        dataset = kept("dataset", self.option, json.dumps(self.settings, sort_keys=True))
        if dataset.holds != "texts":
            raise BadInput(
                f"dataset={self.option} holds {dataset.holds}, which no judge reads: choose a data "
                "set of texts"
            )
        self.dataset: LabelledData = dataset
        with within("dataset"):
            self.dataset.check()

    def run(self, name: str, judge: Judge, verdicts: Verdicts) -> None:
        """Judge, print the table, write the report; a judge that stops counts as a failed run."""
        with within("judge"):
            judge = bound_to_labels(judge.of(self.dataset))
        if self.split != "test" and shares_training(judge, self.dataset, self.external):
            warn_once(
                f"judge={name} may have been trained on these pairs, or selected by them: "
                "agreement is that on unseen pairs with split=test"
            )
        pairs = self.dataset.labelled(self.split)
        if cost := labels_estimate(pairs, judge, verdicts):
            print(f"judge={name}: {cost}", flush=True)
        title = f"{self.option} {self.split}, {len(pairs):,} pairs"
        progress = Progress(heading(1, 1, title))
        try:
            judged = judge_labels(
                pairs, judge, verdicts,
                lambda there, of: progress.status(
                    f"judge={name}: {there:,} of {of:,} verdicts  {judge.cost()}"
                ),
            )  # fmt: skip
        except JudgeStopped as stopped:
            progress.end(f"judge={name} failed: {stopped}")
            outcomes.append(RunResult(title, self.out, "failed", str(stopped), final=stopped.final))
            return
        rows = label_agreement(judged_labels(judged.items))
        progress.end(f"judge={name}: {judge.cost()}".rstrip(" :"))
        print(f"\n{table(rows)}\n")
        self._write(name, judge, judged, rows, title)
        outcomes.append(RunResult(title, self.out, "complete"))

    def _write(
        self,
        name: str,
        judge: Judge,
        judged: Judged,
        rows: Sequence[dict[str, float | str]],
        title: str,
    ) -> None:
        from sympo.analysis.canvas import save_figure
        from sympo.analysis.csv import write_csv
        from sympo.analysis.label_plots import label_agreement_figure

        self.out.mkdir(parents=True, exist_ok=True)
        stem = self.out / f"label_agreement-{name}"
        frame = pd.DataFrame(rows)
        write_csv(frame, stem.with_name(f"{stem.name}.csv"))
        made = {
            "command": command("", self.overrides),
            "git_commit": git_commit(),
            "judge": {**judge.key(), "protocol": judge.protocol},
            "dataset": {key: value for key, value in self.settings.items() if key != "path"},
            "data": self.dataset.fingerprint(),
            "split": self.split,
            "prompt_tokens": judged.prompt_tokens,
            "completion_tokens": judged.completion_tokens,
            "rows": [{key: _json(value) for key, value in row.items()} for row in rows],
            "items": judged.items,
        }
        write_atomically(stem.with_name(f"{stem.name}.json"), json.dumps(made, indent=1) + "\n")
        if self.figures:
            print(save_figure(label_agreement_figure(frame, name, title), stem)[0])


def _json(value: float | str) -> float | str | None:
    return value if isinstance(value, str) or math.isfinite(value) else None
