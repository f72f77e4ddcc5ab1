"""One cell of job=policy, by one process or several, which measure the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cells import prepare
from sympo.distributed import launch
from sympo.pipelines.runner import run_cells
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY, history

CELL = [*SMALL_POLICY, "loss=dr_dpo", "noise=0.2", "device=cpu", "distributed=ddp",
        "job.learning_rate=1e-3", "job.warmup_steps=1", "figures=false"]  # fmt: skip
# of metrics; a rank statistic may count a near tie the other way
TOLERANCE, OF_RANKS = 1e-5, 2e-3
RANKS = ("auroc", "kendall")


def by_one_process(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of `CELL` in this process, without a group."""
    monkeypatch.setattr(launch, "join", lambda *_: None)
    (outcome,) = run_cells([prepare(*composed(*CELL, f"results_dir={results}"))])
    assert outcome.status == "complete", outcome.error
    return outcome.folder


def check_same_cell(together: Path, alone: Path) -> None:
    """Check a run of `CELL` by two processes against that by one: numbers and identity."""
    check_same(together, alone)
    one, both = (json.loads((p / "summary.json").read_text()) for p in (alone, together))
    assert (one["processes"], both["processes"]) == (1, 2)
    assert one["hash"] == both["hash"] and one["config"] == both["config"]
    for which in ("last", "selected"):
        _check_metrics(both[which], one[which])


def check_same(found: Path, expected: Path) -> None:
    """Check that two runs drew the same responses and measured the same."""
    pairs: list[tuple[Any, Any]] = list(zip(history(found), history(expected), strict=True))
    for mine, theirs in pairs:
        _check_metrics(mine, theirs)
    for which in ("last", "selected"):
        mine, theirs = (p / "samples" / f"{which}.jsonl" for p in (found, expected))
        assert mine.read_text() == theirs.read_text()


def _check_metrics(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
            continue
        near = OF_RANKS if any(word in name for word in RANKS) else TOLERANCE
        assert found[name] == pytest.approx(value, rel=near, abs=near), name
