"""Uploads the offline W&B runs of a results folder."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from sympo.runs.folder import run_folders
from sympo.tracking.mode import has_key, server
from sympo.types import BadInput, printable

# of runs given to one `wandb sync`, whose marks say what was uploaded if it is interrupted
AT_ONCE = 50
SECONDS_TO_ANSWER = 10


def offline_runs(results: Path) -> list[Path]:
    """The folders of all offline runs in a results folder, or below any folder of runs, that are
    not uploaded yet; runs of cells that a process holds are left out."""
    runs = results / "runs"
    cells = sorted(run_folders(runs if runs.is_dir() else results))
    found = [one for cell in cells for one in left_in(Path(cell)) if not _busy(Path(cell))]
    return found + [one for sweep in sorted(results.glob("wandb/*")) for one in left_in(sweep)]


def left_in(place: Path) -> list[Path]:
    """The offline runs of one cell or sweep that are not uploaded yet."""
    return [one for one in sorted(place.glob("wandb/offline-run-*")) if not _synced(one)]


def sync(results: Path) -> int:
    """Upload the offline runs of a results folder with `wandb sync`, each once; returns the exit
    code.

    Raises BadInput, before any work, without a folder, a key or a server that answers.
    """
    if not results.is_dir():
        raise BadInput(f"{results} is not a folder: give a results folder, by default results")
    if not has_key():
        raise BadInput(
            f"no API key is configured for {server()}: set WANDB_API_KEY or run `wandb login`"
        )
    left = offline_runs(results)
    if left:
        _check_server()
    for start in range(0, len(left), AT_ONCE):
        subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *map(str, left[start : start + AT_ONCE])],
            stdin=subprocess.DEVNULL,  # it must not ask
            check=False,
        )
    failed = [one for one in left if not _synced(one)]
    print(f"{len(left) - len(failed)} of {len(left)} offline runs uploaded")
    for one in failed:
        print(f"not uploaded: {one}")
    return 1 if failed else 0


def main(arguments: Sequence[str]) -> int:
    """`python -m sympo.tracking sync [RESULTS]`."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m sympo.tracking", description=__doc__)
    parser.add_argument("command", choices=["sync"])
    parser.add_argument("results", nargs="?", default="results", type=Path)
    given = parser.parse_args(arguments)
    try:
        return sync(given.results)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check_server() -> None:
    # `wandb sync` would try for hours
    try:
        urllib.request.urlopen(server(), timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        raise BadInput(f"{server()} does not answer: {printable(str(error))}") from error


def _synced(run: Path) -> bool:
    # W&B's own mark, beside the record
    return any(run.glob("*.wandb.synced"))


def _busy(cell: Path) -> bool:
    lock = FileLock(cell / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
