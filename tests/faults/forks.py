"""Processes that are forked with everything imported, which makes a try cheap.

Only for processes that have started no thread and no GPU.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from sympo.process import end_with_parent
from tests.faults.phases import Mark, Trigger, Watch, marks

SECONDS_AT_MOST = 300.0


@dataclass
class Fork:
    """A forked process that leads a group of its own, and the marks that it has left so far.

    killed: the moment in seconds when it was gone although its workers were not.
    """

    process: int
    pipe: int
    content: bytes = field(default=b"")
    killed: float = float("inf")

    @property
    def marks(self) -> list[Mark]:
        return marks(self.content)

    def wait_for(self, reached: Callable[[list[Mark]], bool]) -> bool:
        """Wait until the marks satisfy a condition; False if the process ends before."""
        deadline = time.monotonic() + SECONDS_AT_MOST
        while not reached(self.marks):
            ready, _, _ = select.select([self.pipe], [], [], deadline - time.monotonic())
            assert ready, "the process hangs"
            if not (more := os.read(self.pipe, 1 << 16)):
                return False
            self.content += more
        return True

    def end(self) -> int:
        """Wait for the process and all that it started; returns its exit code, or the negative
        number of the signal that ended it."""
        self.wait_for(lambda _: False)
        _, status = os.waitpid(self.process, 0)
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(status)

    def kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)


def fork(
    work: Callable[[], int], log: Path, trigger: Trigger | None = None, counts: bool = False
) -> Fork:
    """Start work in a forked process. log: takes its output. trigger, counts: of its `Watch`."""
    parent, (reads, writes) = os.getpid(), os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        os.close(reads)
        os.setpgid(0, 0)
        end_with_parent(parent)
        _run(lambda: _watched(work, log, Watch(writes, trigger, counts)))
    os.close(writes)
    with suppress(OSError):  # whoever is first
        os.setpgid(process, process)
    return Fork(process, reads)


def _watched(work: Callable[[], int], log: Path, _: Watch) -> int:
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    return work()


def _run(work: Callable[[], int]) -> NoReturn:
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkedWorker:
    """In place of what `start_worker` returns: a worker that is forked."""

    def __init__(self, code: str, descriptors: Sequence[int]) -> None:
        parent = os.getpid()
        self.pid, self.code = os.fork(), None
        if self.pid == 0:
            end_with_parent(parent)
            _run(lambda: (exec(code, {}), 0)[1])

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def terminate(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)


def group_of(pid: int) -> list[int]:
    """The processes of a group that still run: by Linux's /proc, neither ended nor about to end by
    a kill that the system has already sent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == pid and state not in "ZX" and not _is_killed(entry):
                    found.append(int(entry.name))
    return found


def _is_killed(process: Path) -> bool:
    lines = (process / "status").read_text().splitlines()
    pending = [line.split()[1] for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(int(signals, 16) >> (signal.SIGKILL - 1) & 1 for signals in pending)
