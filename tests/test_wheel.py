"""The wheel, installed elsewhere, works without the checkout."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

USE = """
import json, sys
import sympo
from sympo.judges import OpenAIJudge

assert "torch" not in sys.modules and sys.prefix in sympo.__file__, sympo.__file__
found = sympo.train_reward_model(
    sympo.Digits(), "ramp", noise=0.3, epochs=3, results_dir="results", progress=True
)
assert found.metrics["test/order_accuracy"] > 0.6, found.metrics
assert found.rewards("test").shape[1] == 2
OpenAIJudge(base_url="http://localhost:1/v1").check()  # its prompts are there
collection = sympo.Collection.from_runs("results/runs")
print(sympo.write_report(collection, "report").table)
try:
    import experiments
except ImportError:
    print("and no package experiments")
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_installed_elsewhere(root: Path, tmp_path: Path) -> None:
    """In a venv of its own, whose only sympo is the wheel; dependencies are those of this one."""
    pip = (sys.executable, "-m", "pip")
    source = tmp_path / "source"  # a build leaves files beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "sympo", source / "sympo")
    run(*pip, "wheel", source, "--no-deps", "--no-build-isolation", "-w", tmp_path, cwd=tmp_path)
    (wheel,) = tmp_path.glob("sympo-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    # a path in a .pth file brings packages, but not the editable installs beside them
    (Path(site.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    print(out := run(python, "-c", USE, cwd=elsewhere))
    assert "and no package experiments" in out and "ramp" in out
    assert (elsewhere / "report" / "accuracy_vs_noise.png").is_file()
    run(python, "-m", "sympo.analysis", "results/runs", "--out", "again", cwd=elsewhere)
    assert (elsewhere / "again" / "report.html").is_file()
