"""Process-wide settings, which programs set and the library never does, and worker processes."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# compiled code that this process has loaded: C++ files, and layers by torch.compile
compiled_code: set[str] = set()
# a workspace of fixed size makes cuBLAS choose the same algorithm each time
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_PR_SET_PDEATHSIG = 1
_SECONDS_BETWEEN_LOOKS = 0.25


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


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Compute with PyTorch's deterministic algorithms and without TF32 if wanted, and then as
    before; an operator that has no deterministic algorithm raises RuntimeError."""
    if not wanted:
        yield
        return
    import torch

    # cuBLAS reads it when it first multiplies; set earlier by programs that begin on a GPU
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), matmul.allow_tf32, cudnn.allow_tf32
    chosen = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        matmul.allow_tf32, cudnn.allow_tf32 = before[1:]
        cudnn.deterministic, cudnn.benchmark = chosen


def start_worker(code: str, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start Python code in a process that ends with this one, however this one ends.

    descriptors: of the files that the process inherits.
    """
    # before anything slow is imported: `multiprocessing` would import the main module first
    first = f"from sympo.process import end_with_parent; end_with_parent({os.getpid()}); "
    return subprocess.Popen(
        [sys.executable, "-c", first + code],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends, even by a kill; parent: the parent's number."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def cores() -> int:
    """The CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
