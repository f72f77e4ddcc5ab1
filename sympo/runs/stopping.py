"""Asks a training process to stop at its next checkpoint, as a batch system's signals do."""

import threading
import time

_asked = threading.Event()


class Stopped(KeyboardInterrupt):
    """Training ended right after a checkpoint, because it was asked to stop.

    An interruption, not a failure: the cell is unfinished and the next run resumes it.
    """


def ask_to_stop() -> None:
    """Make training in this process save a checkpoint and raise `Stopped`; safe in a signal
    handler."""
    _asked.set()


def checkpoint_due(saved: float, seconds: float) -> bool:
    """Whether to save a checkpoint now: `seconds` after the last, or because of `ask_to_stop`.

    saved: when the last was saved, in seconds of `time.monotonic`.
    """
    return _asked.is_set() or time.monotonic() - saved >= seconds


def stop_if_asked() -> None:
    """Call it after a checkpoint was saved; raises Stopped if this process was asked to stop."""
    if _asked.is_set():
        raise Stopped
