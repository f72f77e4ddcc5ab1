"""run.py as a user runs it, in a process of its own.

The processes are forked from one that has imported the libraries, which takes seconds each time.
"""

import multiprocessing
import os
import signal
import subprocess
import tempfile
from multiprocessing import forkserver
from pathlib import Path

# small enough for a test; the same code and data as the default
SMALL_IMAGES = ["job.epochs=2", "dataset.train_pairs=300", "dataset.validation_pairs=300",
         "dataset.test_pairs=1000", "job.evaluate_every=1"]  # fmt: skip

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["tests.helpers.forked"])
forkserver.ensure_running()  # imports beside the first tests, in the environment of the session


class Command:
    """A running `python run.py ...`, with what `subprocess.Popen` offers of it."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        from tests.helpers.forked import run  # costs seconds if no other test has imported it

        self._out, self._err = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115
        self._process = _forked.Process(
            target=run, args=(arguments, environment, self._out.name, self._err.name)
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired("run.py", timeout)
        return tuple(Path(file.name).read_text() for file in (self._out, self._err))


def start(results: Path, *arguments: str, figures: bool = False) -> Command:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"NETRC": str(results / "no-netrc")}
    drawn = [] if figures else ["figures=false"]
    return Command([*arguments, *drawn, f"results_dir={results}"], environment)


def run(results: Path, *arguments: str, figures: bool = False) -> tuple[int, str, str]:
    process = start(results, *arguments, figures=figures)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def cells(results: Path) -> dict[str, Path]:
    found = sorted(results.glob("runs/*/*/*/*/*"))
    return {"/".join(path.parts[-3:]).rsplit("-", 1)[0]: path for path in found}
