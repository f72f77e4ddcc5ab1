"""What made a result: the versions of packages, and the commit of the checkout."""

import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

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
