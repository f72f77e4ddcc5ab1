"""run.py as a user runs it: real processes, real sweeps, killed, repeated, two at once."""

import json
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers.commands import SMALL_IMAGES as SMALL
from tests.helpers.commands import cells, run, start
from tests.helpers.suspects import check_suspects

FILES = {"config.yaml", "metrics.jsonl", "summary.json", "suspects.csv", ".lock"}


SWEEP = ["-m", "loss=ramp,logistic", "noise=0,0.4", "seed=0,1", *SMALL]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    results = tmp_path_factory.mktemp("swept")
    code, out, err = run(results, *SWEEP, figures=True)
    assert code == 0, err
    return results, out


def test_sweep_leaves_what_the_contract_says(swept: tuple[Path, str]) -> None:
    results, out = swept
    found = cells(results)
    assert len(found) == 8 and "ramp/noise=0.4/seed=1" in found
    for path in found.values():
        assert {file.name for file in path.iterdir()} == FILES
        assert len((path / "metrics.jsonl").read_text().splitlines()) == 2
    check_suspects(found["logistic/noise=0.4/seed=0"], {"first", "second"})
    latest = results / "latest"
    for name in ("cells.csv", "summary.csv", "provenance.json"):
        assert (latest / name).is_file()
    for name in ("accuracy_vs_noise", "accuracy_vs_epochs", "reward_vs_digit"):
        assert (latest / f"{name}.png").is_file() and (latest / f"{name}.pdf").is_file()
    assert "[8/8] digits logistic noise=0.4 seed=1" in out
    assert "8 cells: 8 run, 0 already complete, 0 failed" in out
    assert str(latest / "accuracy_vs_noise.png") in out
    assert "wandb.mode=offline" in out  # the hint
    made = json.loads((latest / "provenance.json").read_text())
    assert made["cells"] == 8 and made["seed"] == [0, 1] and "noise=0,0.4" in made["command"]


def test_running_again_skips_and_says_so(swept: tuple[Path, str]) -> None:
    results, _ = swept
    before = {path: (path / "summary.json").stat().st_mtime_ns for path in cells(results).values()}
    # 0 and 0.0 are one cell; where results lie and how they are reported changes no identity
    code, out, err = run(results, *SWEEP[:2], "noise=0.0,0.40", *SWEEP[3:], "wandb.mode=disabled")
    assert code == 0, err
    assert out.count("already complete: ") == 8
    assert "8 cells: 0 run, 8 already complete, 0 failed" in out
    assert {p: (p / "summary.json").stat().st_mtime_ns for p in before} == before


def test_force_runs_again_and_repeats_bitwise(swept: tuple[Path, str]) -> None:
    results, _ = swept
    path = cells(results)["ramp/noise=0.4/seed=1"]
    before = (path / "metrics.jsonl").read_text()
    stamp = (path / "summary.json").stat().st_mtime_ns
    code, out, err = run(results, "loss=ramp", "noise=0.4", "seed=1", *SMALL, "force=true")
    assert code == 0, err
    assert "already complete: " not in out
    assert (path / "summary.json").stat().st_mtime_ns > stamp
    assert (path / "metrics.jsonl").read_text() == before


def test_killed_sweep_goes_on_where_it_was(tmp_path: Path, swept: tuple[Path, str]) -> None:
    undisturbed = cells(swept[0])
    # one of its cells is busy elsewhere, so that it can never be done before it is killed
    busy = tmp_path / undisturbed["ramp/noise=0.4/seed=1"].relative_to(swept[0])
    busy.mkdir(parents=True)
    with FileLock(busy / ".lock"):
        process = start(tmp_path, *SWEEP, "hydra.launcher.most_cells=2")
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("runs/*/*/*/*/*/summary.json"))) < 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = len(list(tmp_path.glob("runs/*/*/*/*/*/summary.json")))
    assert 3 <= done < 8
    code, out, err = run(tmp_path, *SWEEP)
    assert code == 0, err
    assert f"8 cells: {8 - done} run, {done} already complete, 0 failed" in out
    for key, path in cells(tmp_path).items():
        assert (path / "metrics.jsonl").read_text() == (
            undisturbed[key] / "metrics.jsonl"
        ).read_text()


def test_two_processes_share_a_sweep(tmp_path: Path) -> None:
    both = [start(tmp_path, *SWEEP) for _ in range(2)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in both]
    assert [code for _, _, code in ended] == [0, 0], ended
    ran = [line for out, _, _ in ended for line in out.splitlines() if "at the last epoch" in line]
    assert len(ran) == 8, ran  # every cell once, in one of the two
    for path in cells(tmp_path).values():
        assert len((path / "metrics.jsonl").read_text().splitlines()) == 2


def test_two_forced_processes_run_every_cell_once(tmp_path: Path) -> None:
    # long enough that the second starts before the first ends, also on a busy machine
    both = [start(tmp_path, *SWEEP, "force=true", "job.epochs=60") for _ in range(2)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in both]
    assert [code for _, _, code in ended] == [0, 0], ended
    ran = [line for out, _, _ in ended for line in out.splitlines() if "at the last epoch" in line]
    assert len(ran) == 8, ran


def test_the_same_cell_twice_is_one_cell(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "-m", "noise=0,0.0", "assumed_rate=0.1,0.2", *SMALL)
    assert code == 0, err
    assert "4 combinations give 1 distinct cell\n" in out
    assert "1 cell: 1 run, 0 already complete, 0 failed" in out


def test_a_report_that_fails_hides_no_failed_cell(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "cells.csv").mkdir()  # in the way of a file
    code, out, err = run(
        tmp_path,
        "-m",
        "job.learning_rate=1e30,1e-3",
        *SMALL,
        f"report_dir={tmp_path}/report",
    )
    assert code == 1
    assert "2 cells: 1 run, 0 already complete, 1 failed" in out and "error.log" in out
    assert f"error: could not report to {tmp_path}/report" in err and "Traceback" not in err


def test_config_is_shown_resolved(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "--cfg", "job", "loss=cdpo", "assumed_rate=0.25")
    assert code == 0, err
    assert f"report_dir: {tmp_path}/latest" in out
    assert out.count("assumed_rate: 0.25") == 2
    assert not list(tmp_path.iterdir())


def test_a_cell_that_fails_stops_no_other(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "-m", "job.learning_rate=1e30,1e-3", "noise=0.1", *SMALL)
    assert code == 1
    assert "2 cells: 1 run, 0 already complete, 1 failed" in out
    (log,) = tmp_path.glob("runs/*/*/*/*/*/error.log")
    assert "Diverged" in log.read_text() and str(log) in out
    assert not (log.parent / "summary.json").exists()
    assert {path.suffix for path in (tmp_path / "latest").iterdir()} == {
        ".csv", ".json", ".html", ".tex",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "noise=0.1,0.7"], "noise=0.7"),
        (["-m", "loss=ramp,rampp"], "loss=rampp"),
        (["-m", "loss=ramp,logistic", "nois=0.1"], "did you mean noise"),
        (["dataset.trainpairs=3"], "did you mean train_pairs"),
        (["wandb.mod=offline"], "wandb.mod: there is no such key; did you mean mode"),
        (["-m", "dataset.trainpairs=3,4"], "did you mean train_pairs"),
        (["dataset=mnist", "dataset.path=/nowhere"], "/nowhere/MNIST/raw"),
        (["loss=[1"], "loss"),
        (["loss=null"], "loss=null: a group takes"),
        (["experiment=digits_accuracy_vs_noise"], "add -m"),
        (["-m", "experiment=digits_accuracy_vs_noise,null"], "presets cannot be swept"),
        (["-m", "job=policy", "sampler=transformers,vllm"], "samplers cannot be swept"),
        (["loss=ipo"], "loss=ipo needs log-ratios per token"),
        (["report_dir="], "report_dir is empty"),
        (["report_dir=/dev/null/x"], "report_dir"),
        ([f"report_dir={'x' * 300}"], "file name too long"),
        (["wandb.mode='so\x1b[31mme'"], "wandb.mode=so\\x1b[31mme is not known"),
    ],
)
def test_bad_input_starts_nothing(tmp_path: Path, arguments: list[str], words: str) -> None:
    results = tmp_path / "results"
    code, out, err = run(results, *arguments)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ") and words in line
    assert not results.exists()


def test_wandb_offline_groups_a_sweep(tmp_path: Path) -> None:
    from tests.helpers.wandb_records import records

    for _ in range(2):  # cells that are complete do not appear again
        code, _, err = run(tmp_path, "-m", "loss=ramp,logistic", *SMALL, "wandb.mode=offline")
        assert code == 0 and "W&B failed" not in err, err
    files = list(tmp_path.glob("runs/*/*/*/*/*/wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    for file in files:  # trained together, each mirrors its own folder
        told = [json.loads(line) for line in (file.parents[2] / "metrics.jsonl").open()]
        accuracy = [
            json.loads(item.value_json)
            for record in records(file)
            if record.HasField("history")
            for item in record.history.item
            if (item.key or "/".join(item.nested_key)) == "test/order_accuracy"
        ]
        assert accuracy == [one["test/order_accuracy"] for one in told] and len(told) == 2
    begun = [r.run for file in files for r in records(file) if r.HasField("run")]
    assert len({r.run_id for r in begun}) == 2 and len({r.run_group for r in begun}) == 1
    ended = [r.exit.exit_code for file in files for r in records(file) if r.HasField("exit")]
    assert ended == [0, 0]


def test_settings_of_a_swept_group_go_to_each_of_its_options(tmp_path: Path) -> None:
    # the data set's own model knows no tokenizer_path; the two that are swept do
    models = ["model=tfidf,tiny_reward", "model.tokenizer_path=nowhere"]
    code, _, err = run(tmp_path, "-m", "job=reward_model", "dataset=hh", *models, "noise=0.7")
    assert code == 2 and "noise=0.7" in err


def test_run_folders_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    place = tmp_path / "noise=0.3" / "seed=0-ab"
    place.mkdir(parents=True)
    code, _, err = run(tmp_path, "job=policy", "judge=reward_model", f"judge.name_or_path={place}")
    assert code == 2 and f"judge.name_or_path={place} lacks config.json" in err
