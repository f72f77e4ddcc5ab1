"""`--list` and `--help`: everything in `conf/` is there, in words, and what classes declare is
true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.list_help import show_help
from experiments.list_options import FIRST, main, option_names
from experiments.settings import groups
from sympo.losses import by_name
from tests.conftest import ROOT


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--list", *arguments]) == 0
    return capsys.readouterr().out


def test_every_option_has_a_line_with_words(capsys: pytest.CaptureFixture[str]) -> None:
    out = listed(capsys)
    for group in groups():
        part = out.split(f"{group} ({group}=OPTION)\n")[1].split("=OPTION)\n")[0]
        lines = {line.split()[0]: line for line in part.splitlines() if line[2:3].strip()}
        for name in option_names(group):
            assert len(lines[name].split()) > 2, f"{group}={name} is not explained"
    assert set(FIRST) <= groups()


def test_settings_are_as_typed_with_their_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    out = listed(capsys, "loss", "dataset", "job", "job/margin")
    for line in (
        "loss.q=0.7  # the paper's default; towards 0 logistic, at 1 sigmoid",
        "dataset.part=all  # of the training rows, by conversation: policies, judge, "
        "judge_validation (60, 30, 10%); or all",
        "job.epochs=30",  # that a data set changes
        "job.sft.epochs=1  # 0: the model without fine-tuning",
        "job.margin.beta=0.1  # finite and above 0",  # of the docstring
    ):
        assert f"      {line}\n" in out, line
    assert "_target_" not in out


def test_losses_show_what_their_classes_declare(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys, "loss").splitlines()
    for name in option_names("loss"):
        (line,) = (one for one in lines if one.startswith(f"  {name} "))
        shown = line.rpartition("[")[2].rstrip("]")
        needs = "; needs assumed_rate" in shown
        words = shown.replace("; needs assumed_rate", "").split(", ")
        loss = by_name(name, **({"assumed_rate": 0.1} if needs else {}))
        properties = loss.properties  # type: ignore[attr-defined]
        for word in ("symmetric", "convex", "bounded"):
            assert (word in words) == getattr(properties, word), line
            assert (f"not {word}" in words) != getattr(properties, word), line
        assert ("calibrated" in words, "class-probability estimating" in words) == (
            properties.calibrated,
            properties.cpe,
        )


def test_a_loss_of_ones_own_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extensions = ROOT / "tests" / "extensions"
    monkeypatch.syspath_prepend(extensions)
    monkeypatch.setattr("experiments.list_options.CONF", extensions / "conf")
    monkeypatch.setattr("experiments.list_options.groups", lambda: {"loss"})
    assert "the probability that a standard normal draw" in listed(capsys, "loss")


def test_an_unknown_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "losses"]) == 2
    assert capsys.readouterr().err == (
        "error: --list losses: there is no such group; did you mean loss?\n"
    )


def test_help_shows_settings_without_plumbing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "job=policy", "loss=cdpo", "--help"])
    show_help()
    out = capsys.readouterr().out
    assert "_target_" not in out and "progress." not in out and "--list" in out
    assert "noise=0.0  # rate of flipped" in out and "job.sft.epochs=3" in out
    assert "loss.assumed_rate=${assumed_rate}  # never the true rate" in out
    assert max(map(len, out.split("== Settings")[0].splitlines())) <= 100


@pytest.mark.parametrize("flag", ["--list", "--help"])
def test_a_closed_output_ends_quietly(flag: str, root: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "run.py", flag], cwd=root, stdout=write,
                          stderr=subprocess.PIPE, text=True)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_listing_imports_no_torch(root: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['run.py', '--list']\n"
        "try:\n    runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'wandb' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
