"""Nine cells on a real SLURM, disturbed in every way at once, then completed by the same command.

python -m tests.slurm.nine_cells results/slurm   # records the log and cells.csv
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT
from tests.slurm.one_node_slurm import OneNodeSlurm, lacking

SWEEP = ["loss=ramp,sigmoid,logistic", "noise=0.1,0.3,0.4", "job.epochs=60",
         "job.evaluate_every=20", "threads=1", "device=cpu", "wandb.mode=disabled"]  # fmt: skip
ONE = ["loss=ramp", "noise=0.3", "threads=1", "device=cpu", "wandb.mode=disabled"]
# SLURM warns a task of 2 minutes, with 45 seconds' notice, after 45 to 75 seconds
LIMIT = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=45",
         "hydra.launcher.requeue=20"]  # fmt: skip
SECONDS_OF_ONE = 100.0
ON_SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"]
# seconds; on a machine that other work shares
PATIENCE = 900.0


class Sweep:
    """A sweep in a process of its own, with its output so far; killed if it is left early."""

    def __init__(
        self, arguments: Sequence[str], results: Path, environment: Mapping[str, str]
    ) -> None:
        results.mkdir(parents=True, exist_ok=True)
        self.output = results.parent / f"{time.monotonic_ns()}.out"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "run.py", "-m", *arguments, f"results_dir={results}"],
                cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.5)


@dataclass
class Happened:
    """What happened: exit codes and outputs in order, and the cells' own arguments."""

    results: Path
    log: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    command: Sequence[str] = ()

    def ends(self, sweep: Sweep) -> None:
        self.codes.append(sweep.wait())
        self.texts.append(sweep.text)
        self.log += [*scrubbed(sweep.text, self.results), f"exit code {self.codes[-1]}", ""]


def nine_cells(slurm: OneNodeSlurm, results: Path) -> Happened:
    """Submit nine cells, interrupt the command, repeat it, kill a task, drain the node, resume it,
    and repeat the command to completion."""
    happened = Happened(results, command=SWEEP)
    command = [*ON_SLURM, *SWEEP]
    happened.log.append(f"$ python run.py -m {' '.join(command)}")
    with Sweep(command, results, slurm.environment) as first:
        wait_until(lambda: running(slurm))
        happened.log.append("(Ctrl-C while the first tasks run)")
        first.process.send_signal(signal.SIGINT)
        happened.ends(first)
    happened.log.append("$ the same command")
    with Sweep(command, results, slurm.environment) as second:
        wait_until(lambda: "already in the queue" in second.text and running(slurm))
        victim = running(slurm)[-1]
        happened.log.append(f"(scancel --signal=KILL {victim})")
        slurm.command("scancel", "--signal=KILL", victim)
        happened.log.append("(the node is drained, and resumed once no task runs)")
        slurm.command("scontrol", "update", f"nodename={slurm.node}", "state=drain", "reason=test")
        wait_until(lambda: not running(slurm) and "cannot start now" in second.text)
        assert not running(slurm) and slurm.command("squeue", "-h", "-t", "PENDING")
        slurm.command("scontrol", "update", f"nodename={slurm.node}", "state=resume")
        happened.ends(second)
    happened.log.append("$ the same command")
    with Sweep(command, results, slurm.environment) as third:
        happened.ends(third)
    return happened


def out_of_time(slurm: OneNodeSlurm, results: Path) -> Happened:
    """Run a cell that takes longer than its task's time limit; its arguments are `command`."""
    happened = Happened(results)
    local(results.parent / "timed", [*ONE, "job.epochs=100"])
    (timed,) = (results.parent / "timed").rglob("summary.json")
    epochs = 100 * round(SECONDS_OF_ONE / json.loads(timed.read_text())["wall_seconds"])
    happened.command = [*ONE, f"job.epochs={epochs}", f"job.evaluate_every={epochs // 2}"]
    command = [*ON_SLURM, *LIMIT, *happened.command]
    happened.log.append(f"$ python run.py -m {' '.join(command)}")
    with Sweep(command, results, slurm.environment) as sweep:
        happened.ends(sweep)
    happened.log.append("the log of its task, in part:")
    (log,) = results.glob("slurm_jobs/*/*_log.out")
    shown = re.compile(r"SIGUSR2: |resumes from|Requeued|last epoch")
    happened.log += [line for line in scrubbed(log.read_text(), results) if shown.search(line)]
    happened.texts.append(log.read_text())
    return happened


def running(slurm: OneNodeSlurm) -> list[str]:
    """The tasks that train: running, and past their start."""
    return slurm.command("squeue", "-h", "-r", "-t", "RUNNING,COMPLETING", "-o", "%i").split()


def scrubbed(text: str, results: Path) -> Iterator[str]:
    """Lines without folders of this machine, its name, and the time of day."""
    for line in text.replace(str(results), "results").splitlines():
        if line.strip():
            yield re.sub(r"\(\d{4}-\S+ \S+\) |slurmstepd-\S+ ", "", line)


def local(results: Path, arguments: Sequence[str]) -> str:
    """The `cells.csv` of the same cells by the default launcher."""
    with Sweep(arguments, results, {}) as sweep:
        assert sweep.wait() == 0, sweep.text
    return cells_csv(results)


def cells_csv(results: Path) -> str:
    return (results / "latest" / "cells.csv").read_text()


def main() -> None:
    out = Path(sys.argv[1])
    if reason := lacking():
        sys.exit(reason)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with OneNodeSlurm(folder / "slurm") as slurm:
            nine = nine_cells(slurm, folder / "nine" / "results")
            (out / "nine_cells.log").write_text("\n".join(nine.log) + "\n")
            (out / "cells.csv").write_text(cells_csv(nine.results))
            timed = out_of_time(slurm, folder / "timed" / "results")
            (out / "out_of_time.log").write_text("\n".join(timed.log) + "\n")
        for made in (nine, timed):
            same = cells_csv(made.results) == local(made.results.parent / "local", made.command)
            print(f"cells.csv {'equals' if same else 'differs from'} that of a local run")


if __name__ == "__main__":
    main()
