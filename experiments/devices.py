"""Reserves GPUs, so that no two programs compute on one by accident.

A program locks each device that it uses, in a folder of its user on this machine. Locks are named
by the devices' UUIDs, so that they agree whatever CUDA_VISIBLE_DEVICES hides or reorders, and the
operating system frees them when the program ends, however it ends.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sympo.distributed import processes
from sympo.types import BadInput

SECONDS_BETWEEN_LOOKS = 1.0


def count() -> int:
    """The number of CUDA devices that this process sees."""
    import torch

    return torch.cuda.device_count()


def visible() -> list[str]:
    """A stable name for each CUDA device that this process sees, in PyTorch's order."""
    import torch

    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(count())]


def folder() -> Path:
    """The folder of this user's locks, on a disk of this machine."""
    path = Path(tempfile.gettempdir()) / f"sympo-devices-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise BadInput(f"{path} belongs to someone else: remove it, or set TMPDIR")
    return path


def use(device: int | None) -> None:
    """Let `cuda` mean this device in this process; None changes nothing."""
    if device is not None:
        import torch

        torch.cuda.set_device(device)


@contextmanager
def reserved(
    devices: Sequence[str], most: int = 1, note: Callable[[str], None] = print
) -> Iterator[list[int]]:
    """Reserve the devices of cells while they run; yields the numbers of the CUDA devices.

    Devices named by number are all reserved. For `cuda`, any free ones are, at least one and up to
    `most`, and `cuda` then means the first of them. Waits, with a note, while others hold them.
    """
    named = sorted({int(one.partition(":")[2]) for one in devices if one.startswith("cuda:")})
    any_one = "cuda" in devices
    if not named and not any_one:  # on the CPU
        yield []
        return
    if processes.joined():  # each of several processes has a device
        named, any_one = [processes.local_rank()], False
    locks = [FileLock(folder() / f"{name}.lock") for name in visible()]
    taken: list[int] = []
    try:
        with processes.in_turn():
            for number in named:  # in order, so that two programs never wait for each other
                _wait(locks, [number], 1, taken, note)
            if any_one and not taken:
                _wait(locks, range(len(locks)), most, taken, note)
        use(taken[0])
        yield taken
    finally:
        _empty_cache()
        for number in taken:
            locks[number].release()


def _wait(
    locks: Sequence[FileLock],
    wanted: Sequence[int],
    most: int,
    taken: list[int],
    note: Callable[[str], None],
) -> None:
    """Take up to `most` of the wanted devices, as soon as one is free."""
    said, before = False, len(taken)
    while True:
        for number in wanted:
            if len(taken) - before < most:
                with suppress(Timeout):
                    locks[number].acquire(timeout=0)
                    taken.append(number)
        if len(taken) > before:
            return
        if not said:
            names = ", ".join(f"cuda:{number}" for number in wanted)
            note(f"waiting for {names}, which other runs on this machine have reserved")
            said = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _empty_cache() -> None:
    import torch

    torch.cuda.empty_cache()  # does nothing without CUDA
