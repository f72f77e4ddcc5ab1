"""job=judge and judge=... of job=policy as a user runs them."""

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from experiments.judge import JudgeJob
from experiments.run_data import dataset_of
from sympo.judges.gold import Gold
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judged_runs import Verdicts
from sympo.judges.judging import questions
from sympo.judges.samples import Samples
from sympo.runs.folder import run_folders
from sympo.types import BadInput
from tests.helpers.commands import run
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY as SMALL

GRID = ["-m", "loss=ramp,logistic", "noise=0.4", *SMALL]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("policies")
    code, _, err = run(results, *GRID)
    assert code == 0, err
    return results


@pytest.fixture
def runs(policies: Path, tmp_path: Path) -> Path:
    """A copy of the policies' run folders and stages, unjudged."""
    shutil.copytree(policies, tmp_path, dirs_exist_ok=True)
    return tmp_path


def judge(results: Path, *overrides: str) -> tuple[int, str, str]:
    return run(results, "job=judge", "judge=gold", f"runs={results / 'runs'}", *overrides)


def refused(results: Path, *overrides: str) -> str:
    """What the job says before it starts."""
    overrides = ("job=judge", "judge=gold", f"runs={results / 'runs'}", *overrides)
    with pytest.raises(BadInput) as error:
        JudgeJob.start(*composed(*overrides, f"results_dir={results}"), overrides)
    assert "\n" not in str(error.value) and not list(results.rglob("judges"))
    return str(error.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "judges"
    }


def test_gold_judge_says_what_the_true_reward_says(runs: Path) -> None:
    before = contents(runs / "runs")
    code, out, err = judge(runs, "judge.against=reference")
    assert code == 0, err
    assert "2 runs: 2 judged, 0 already judged, 0 failed" in out
    assert contents(runs / "runs") == before  # nothing but `judges` is touched
    for folder in map(Path, run_folders(runs / "runs")):
        (file,) = (folder / "judges").iterdir()
        samples = json.loads(file.read_text())["samples"]
        summary = json.loads((folder / "summary.json").read_text())
        for which in ("last", "selected"):
            told = samples[which]["metrics"]["win_rate"]
            assert told == summary[which]["policy/win_rate"]
    made = json.loads((runs / "latest" / "judging-gold.json").read_text())
    assert made["command"].startswith("python run.py job=judge judge=gold runs=FOLDER")


def test_judging_again_asks_nothing_and_analysis_merges_it(runs: Path) -> None:
    assert judge(runs)[0] == 0
    code, out, err = judge(runs)
    assert code == 0, err
    assert "2 runs: 0 judged, 2 already judged, 0 failed" in out
    cells = pd.read_csv(runs / "latest" / "cells.csv")
    assert cells["last/judge/gold/win_rate"].notna().all()
    assert (cells["last/judge/gold/win_rate"] == cells["last/policy/win_rate_chosen"]).all()


def test_only_runs_below_the_folder_are_judged(runs: Path) -> None:
    code, out, err = judge(runs, f"runs={runs / 'runs/policy/gold_language/ramp/noise=0.4'}")
    assert code == 0, err
    assert "1 run: 1 judged" in out


def test_policies_are_judged_as_their_last_stage(runs: Path) -> None:
    # the cells are complete: nothing is trained again, and what was not judged is judged
    code, out, err = run(runs, *GRID, "judge=gold", "judge.samples=[last]")
    assert code == 0, err
    assert "2 cells: 0 run, 2 already complete, 0 failed" in out
    assert out.count("judge=gold: win rate") == 2
    assert len(list(runs.rglob("judges/gold-*.json"))) == 2
    code, out, err = run(runs, "-m", "loss=sigmoid", "noise=0.2", *SMALL, "judge=gold")
    assert code == 0, err
    assert "1 cell: 1 run" in out and out.count("judge=gold: win rate") == 1


def test_every_judge_of_a_sweep_judges(runs: Path) -> None:
    both = ["judge=gold", "judge.against=chosen,reference", "judge.samples=[last]"]
    code, out, err = run(runs, "-m", "loss=ramp", "noise=0.4", *SMALL, *both)
    assert code == 0, err
    assert out.count("judge=gold: win rate") == 2
    assert len(list(runs.rglob("judges/gold-*.json"))) == 2


def test_force_judges_again(runs: Path) -> None:
    only = f"runs={runs / 'runs/policy/gold_language/ramp'}"
    assert judge(runs, only)[0] == 0
    code, out, err = judge(runs, only, "force=true")
    assert code == 0, err
    assert "1 run: 1 judged, 0 already judged" in out


def test_force_that_stops_half_way_is_finished_without_force(runs: Path) -> None:
    assert judge(runs)[0] == 0
    (folder, *_) = map(Path, run_folders(runs / "runs"))
    dataset, verdicts = (
        dataset_of(folder),
        Verdicts(runs / "stages" / "verdicts.sqlite", time.time()),
    )
    gold = Gold().of(dataset)
    lines = Samples(folder, "last").lines("chosen")
    cache = verdicts.of(gold)
    asked = questions(gold, lines, cache)
    cache.forget(
        dict(list(asked.items())[:10]), verdicts.since
    )  # as if the rest had been answered again
    JudgedFile(folder, "gold", gold).drop("last")
    assert len(cache.get(asked)) == len(asked) - 10
    code, out, err = judge(runs)
    assert code == 0, err
    assert "2 runs: 1 judged, 1 already judged" in out
    assert len(cache.get(asked)) == len(asked)


def test_forced_run_sets_verdicts_on_its_old_answers_aside(runs: Path) -> None:
    assert judge(runs)[0] == 0
    kept = json.loads(next(runs.rglob("judges/gold-*.json")).read_text())
    for folder in map(Path, run_folders(runs / "runs")):
        if folder.parts[-3] == "ramp":  # as if people had judged other answers
            kept["samples"]["last"]["digest"] = "of other answers"
            (folder / "judges" / "human-1.json").write_text(json.dumps(kept))
    code, _, err = run(runs, *GRID, "loss=ramp", "force=true")
    assert code == 0, err
    names = {path.name.split("-")[0] + path.suffix for path in runs.rglob("ramp/**/judges/*")}
    assert names == {"gold.json", "human.stale"}  # the same answers came out again


def test_run_that_cannot_be_judged_stops_no_other(runs: Path) -> None:
    first = Path(next(run_folders(runs / "runs")))
    (first / "judges").write_text("a file where a folder should be")
    code, out, _ = judge(runs)
    assert code == 1
    assert "2 runs: 1 judged, 0 already judged, 1 failed" in out
    (first / "judges").unlink()
    code, out, _ = judge(runs)
    assert code == 0 and "1 judged, 1 already judged" in out


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["noise=0.3"], ["noise=0.3", "job=judge"]),
        (["judge.against=nobody"], ["judge.against=nobody"]),
        (["runs=nowhere"], ["runs=nowhere", "not a folder"]),
        (["runs=conf"], ["runs=conf", "samples/last.jsonl"]),
        (["+judge.foo=1"], ["judge.foo"]),
        (["threads=abc"], ["threads='abc'", "int"]),
        (["runs=5"], ["runs=5", "str"]),
        (["report_dir=3"], ["report_dir=3", "str"]),
    ],
)
def test_bad_input_starts_nothing(runs: Path, overrides: list[str], words: list[str]) -> None:
    told = refused(runs, *overrides)
    assert all(word in told for word in words), told


def test_broken_row_starts_nothing(runs: Path) -> None:
    last = sorted(runs.rglob("last.jsonl"))[-1]
    last.write_text(last.read_text() + "{\n")
    assert "row 33 is broken JSON" in refused(runs)


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
@pytest.mark.parametrize("content", [b'{"a": [', b"\xff\xfe\x00", b"[" * 5000, b"5", b"a: 1"])
def test_broken_run_folder_starts_nothing(runs: Path, name: str, content: bytes) -> None:
    last = sorted(runs.rglob(name))[-1]
    last.write_bytes(content)
    assert str(last) in refused(runs)


@pytest.mark.parametrize("judges", ["[1,2]", "[gold,openai]"])
def test_several_judges_exit_with_two(tmp_path: Path, judges: str) -> None:
    code, _, err = run(tmp_path, "job=judge", f"judge={judges}", f"runs={tmp_path}")
    assert code == 2
    assert err.endswith(f"judge={judges}: a group takes the name of one of its options\n")
    assert err.count("\n") == 1


def test_damaged_verdicts_are_made_again(runs: Path) -> None:
    assert judge(runs)[0] == 0
    told = {path: json.loads(path.read_text())["samples"] for path in runs.rglob("gold-*.json")}
    (runs / "stages" / "verdicts.sqlite").write_bytes(b"garbage" * 3000)
    hit = next(iter(told))
    hit.write_text(hit.read_text()[:500])
    code, out, err = judge(runs)
    assert code == 0, err
    assert "2 runs: 1 judged, 1 already judged" in out
    assert "verdicts.sqlite.damaged" in err and f"{hit.name}.damaged" in err
    for path, samples in told.items():
        again = json.loads(path.read_text())["samples"]
        for which, one in samples.items():
            assert again[which]["items"] == one["items"]
            assert again[which]["metrics"] == one["metrics"]


def test_bad_input_exits_with_two(runs: Path) -> None:
    code, _, err = judge(runs, "runs=nowhere")
    assert code == 2
    assert err == "error: runs=nowhere is not a folder: give one that holds run folders\n"


def test_judging_is_no_sweep(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "-m", "job=judge", "judge=gold")
    assert code == 2 and "-m" in err
