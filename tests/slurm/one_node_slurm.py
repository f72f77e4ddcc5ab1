"""A real SLURM on this machine, for tests: one node, one partition, no accounting.

    python -m tests.slurm.one_node_slurm FOLDER   # starts it; Ctrl-C stops it

Needs root and `apt-get install --no-install-recommends slurmctld slurmd slurm-client munge`. It
runs on loopback only, keeps its files in FOLDER, and starts and stops only its own daemons.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
# for daemons that answer, on a busy machine
SECONDS_TO_START = 60
CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=30
MinJobAge=30
SchedulerParameters=sched_interval=2,batch_sched_delay=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why SLURM cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "a SLURM on this machine can only be started by root"
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"SLURM is not installed: no {', '.join(missing)}"
    return ""


class OneNodeSlurm:
    """Daemons of SLURM, started on entry and stopped on exit.

    environment: variables with which SLURM's commands find it. node: the name of its node.
    """

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self.folder, self.cpus, self.node = folder, cpus, socket.gethostname()
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "OneNodeSlurm":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def command(self, *words: str) -> str:
        """The output of one of SLURM's commands; raises CalledProcessError if it fails."""
        return subprocess.run(
            words, env=os.environ | self.environment, check=True, capture_output=True, text=True
        ).stdout

    def _start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        controller, node = _free_ports()
        (self.folder / "slurm.conf").write_text(
            CONF.format(
                host=self.node, controller=controller, node=node, folder=self.folder, cpus=self.cpus
            )
        )
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        socket_file = self.folder / "munge.socket"
        self._daemon(
            "munged", "--foreground", "--force", f"--socket={socket_file}", f"--key-file={key}",
            f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munged.seed",
        )  # fmt: skip
        _wait_until(socket_file.exists, "munged does not answer")
        self._daemon("slurmctld", "-D", "-i")
        _wait_until(lambda: self._answers("scontrol", "ping"), "slurmctld does not answer")
        self._daemon("slurmd", "-D", "-N", self.node)
        _wait_until(lambda: "idle" in self.command("sinfo", "-h", "-o", "%t"), "the node is not up")

    def _answers(self, *words: str) -> bool:
        try:
            return "UP" in self.command(*words)
        except subprocess.CalledProcessError:
            return False

    def _daemon(self, *words: str) -> None:
        log = (self.folder / f"{words[0]}.out").open("wb")
        self._daemons.append(
            subprocess.Popen(
                words, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )
        )  # fmt: skip

    def _stop(self) -> None:
        if len(self._daemons) == 3:
            subprocess.run(
                ["scancel", "--user=root"], env=os.environ | self.environment, check=False
            )
            time.sleep(1)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until(true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {SECONDS_TO_START} s")
        time.sleep(0.2)


def main() -> None:
    if reason := lacking():
        sys.exit(reason)
    with OneNodeSlurm(Path(sys.argv[1]).absolute()) as slurm:
        print(f"export SLURM_CONF={slurm.environment['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
