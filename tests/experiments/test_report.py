"""The command that a report records names no place on this machine."""

from pathlib import Path

from experiments.report import command


def test_commands_name_no_paths(tmp_path: Path) -> None:
    folder = tmp_path / "noise=0"  # Hydra needs quotes around it
    folder.mkdir()
    paths = [f'judge.name_or_path="{folder}"', f"dataset.path={tmp_path}", "results_dir=x"]
    expected = "python run.py -m judge.name_or_path=FOLDER dataset.path=FOLDER seed=1"
    assert command("-m ", [*paths, "seed=1"]) == expected
