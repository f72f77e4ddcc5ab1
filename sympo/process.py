"""Process-wide settings, which programs set and the library never does."""

import ctypes
import os
import sys


def keep_freed_memory() -> None:
    """Reuse the memory of freed CPU tensors, in huge pages.

    By default glibc returns each freed block of a few megabytes to the system, and the next one
    faults in page by page, which takes a third of a small network's training step.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first large block
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            # M_MMAP_THRESHOLD, limited to 32 MB by older versions of glibc
            if libc.mallopt(-3, 1 << 30) or libc.mallopt(-3, 1 << 25):
                libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass


def quiet_transformers() -> None:
    """Silence `transformers`' progress bars and advice, which would break up the progress lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def cores() -> int:
    """The CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
