"""What made a result: versions of packages, the commit of the checkout, and the machine."""

import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sympo.process import compiled_code

PACKAGES = (
    *("sympo", "torch", "transformers", "peft", "numpy", "scipy", "statsmodels", "scikit-learn"),
    "hydra-core",
)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version(), "system": sys.platform}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the running checkout, with `-dirty` if tracked files other than results have
    changed; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        here = Path(__file__).parent
        return subprocess.run(
            command, cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = ("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    try:
        if Path(git("rev-parse", "--show-toplevel")) != Path(__file__).resolve().parents[2]:
            return None  # installed somewhere inside another project
        return git("rev-parse", "HEAD") + ("-dirty" if git(*changed) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def environment(device: str) -> dict[str, Any]:
    """What else can change the last bits of a number: the hardware, threads, and how floating point
    is computed. device: as PyTorch names it.

    `compiled` lists the compiled code that this process has loaded so far.
    """
    import torch

    found: dict[str, Any] = {
        "processor": _processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "compiled": sorted(compiled_code),
    }
    if device != "cpu":
        found |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "tf32": {
                "matmul": torch.backends.cuda.matmul.allow_tf32,
                "cudnn": torch.backends.cudnn.allow_tf32,
            },
        }
    return found


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not on Linux
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
