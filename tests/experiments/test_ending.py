"""How the program ends: stopped, terminated, its output closed, or with a single cell."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import sympo
from experiments.ending import ended
from experiments.single_cell import show_cell
from sympo.pipelines.result import RunResult

PROGRAM = """
import sys, time
from experiments.ending import ended
def main():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("released", flush=True)
sys.exit(ended(main))
"""


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals_release_everything_and_say_how_to_resume(
    sent: signal.Signals, code: int, word: str, root: Path
) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=root, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "released\n")
    assert err == f"\n{word}; the same command resumes where it stopped\n"


def test_a_program_that_ends_by_itself_keeps_its_code() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert ended(lambda: 1) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_single_cell_names_what_it_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sympo.Digits(train_pairs=64, validation_pairs=64, test_pairs=64)
    found = sympo.train_reward_model(data, epochs=2, evaluate_every=1, results_dir=tmp_path)
    folder = found.folder
    assert folder is not None
    (folder / "samples").mkdir()
    (folder / "samples" / "last.jsonl").touch()
    config = OmegaConf.create({"figures": True, "results_dir": str(tmp_path)})
    show_cell(RunResult("cell", folder, "complete"), config)
    figure = folder / "figures" / "accuracy_vs_epochs.png"
    assert capsys.readouterr().out.splitlines() == [
        "",
        f"folder:  {folder}",
        f"figures: {figure}",
        f"samples: {folder / 'samples' / 'last.jsonl'}",
    ]
    assert figure.read_bytes()[1:4] == b"PNG"
    show_cell(RunResult("cell", folder, "failed"), config)
    assert capsys.readouterr().out == ""
