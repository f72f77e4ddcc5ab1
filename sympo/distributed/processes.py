"""The processes that train each cell together: which one this is, and what they exchange.

Without a group there is one process. torch is imported only if there are several.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

Found = TypeVar("Found")


@dataclass(frozen=True)
class Place:
    """A process's place in its group: its rank among `size` processes, and its local rank among the
    `local_size` of its machine. launcher: the program that started them."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    launcher: str


@dataclass
class _Group:
    """This process's group, once it has joined one. control: exchanges objects, and waits as long
    as the first process is busy."""

    place: Place | None = None
    control: Any = None
    alone: list[None] = field(default_factory=list)


_group = _Group()


def set_group(place: Place | None, control: Any) -> None:
    """Become one of a group's processes, or leave it (None)."""
    _group.place, _group.control = place, control


def joined() -> bool:
    """Whether cells are trained by a group of processes, even if it has only one."""
    return _group.place is not None


def rank() -> int:
    return 0 if _group.place is None else _group.place.rank


def size() -> int:
    return 1 if _group.place is None else _group.place.size


def local_rank() -> int:
    return 0 if _group.place is None else _group.place.local_rank


def local_size() -> int:
    """The processes on this machine that divide its cores."""
    return 1 if _group.place is None else _group.place.local_size


def launcher() -> str:
    """The program that started the group, `torchrun` or `srun`; empty without one."""
    return "" if _group.place is None else _group.place.launcher


def first() -> bool:
    """Whether this process writes: run folders, stages, progress and W&B."""
    return rank() == 0


def several() -> bool:
    """Whether work is shared now."""
    return size() > 1 and not _group.alone


@contextmanager
def alone() -> Iterator[None]:
    """Share no work inside the context."""
    _group.alone.append(None)
    try:
        yield
    finally:
        _group.alone.pop()


def from_first(work: Callable[[], Found]) -> Found:
    """What `work` returns in the first process, which alone does it while the others wait."""
    if not several():
        return work()
    if not first():
        found: Found = told()
        return found
    with alone():
        mine = work()
    tell(mine)
    return mine


def tell(value: object) -> None:
    """Give a value to all other processes, in each of which `told` returns it."""
    import torch.distributed as dist

    dist.broadcast_object_list([value], src=0, group=_group.control)


def told() -> Any:
    """The value that the first process tells."""
    import torch.distributed as dist

    box: list[Any] = [None]
    dist.broadcast_object_list(box, src=0, group=_group.control)
    return box[0]


def gathered(value: Found) -> list[Found]:
    """The values of all processes, by rank."""
    if not several():
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value, group=_group.control)
    return found


def wait() -> None:
    """Wait until all processes are here."""
    gathered(None)


@contextmanager
def in_turn() -> Iterator[None]:
    """Let the processes enter the context one after another, by rank, and leave it together."""
    for _ in range(rank()):
        wait()
    yield
    for _ in range(rank(), size()):
        wait()


def everywhere(fact: bool) -> bool:
    """Whether this is so in every process."""
    return all(gathered(fact))


def share(rows: np.ndarray) -> np.ndarray:
    """This process's part of rows; the parts of all processes partition them."""
    return rows[rank() :: size()] if several() else rows


def fill(found: np.ndarray, own: np.ndarray) -> None:
    """Fill in, in place, the rows that other processes computed. own: the rows of this one."""
    if several():
        for index, values in gathered((own, found[own])):
            found[index] = values
