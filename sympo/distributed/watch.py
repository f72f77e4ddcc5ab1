"""Stops all processes of a group once one of them cannot continue, and saves what it can."""

import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from sympo.distributed.processes import Place
from sympo.types import printable

# in which all processes must fail for a failure to be common to them
SECONDS_TO_AGREE = 5.0
SECONDS_BETWEEN_LOOKS = 0.5
# that other processes give the first one to report
SECONDS_FOR_THE_FIRST = 1.0
RESUMES = "the same command resumes"

# saves the work of the cell in training; returns what to report, such as the epoch
Save = Callable[[], str]


class Watch(threading.Thread):
    """Watches for signals and for failures of other processes, in a thread, because the main thread
    may be waiting for a process that is gone.

    store: keys that all processes see. place: of this process.
    """

    def __init__(self, store: Any, place: Place) -> None:
        super().__init__(daemon=True, name="watch")
        self.store, self.place = store, place
        self.save: Save | None = None
        # failures so far that were common to all
        self.agreed = 0
        self.failing = self.ended = False
        self._stops = threading.Lock()
        self._signals, wakes = os.pipe()
        os.set_blocking(wakes, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        # written to at once, even if the main thread is inside a sum
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def run(self) -> None:
        seen: float | None = None
        while not self.ended:
            if select.select([self._signals], [], [], SECONDS_BETWEEN_LOOKS)[0]:
                number = os.read(self._signals, 1)[0]
                if number in (signal.SIGTERM, signal.SIGINT):
                    self.stop(_words(number), 128 + number)
            if self.ended:
                return
            try:
                fails = self.store.check([self._key("failed")])
            except Exception:  # the process with the store is gone
                self.stop("another process of this run has ended", 1)
            if not fails or self.failing:
                seen = None
            elif seen is None:
                seen = time.monotonic()
            elif time.monotonic() - seen > SECONDS_TO_AGREE:
                self.stop("another process of this run has failed", 1)

    def agree(self, error: Exception, log: Callable[[Exception], object]) -> None:
        """Return if all processes have failed alike, such as by a loss that diverged; otherwise
        stop. log: called in the first process to fail."""
        self.failing = True
        reason = " ".join(traceback.format_exception_only(error)[-1].split())
        try:
            if not _lost(error):
                who = f"process {self.place.rank + 1} of {self.place.size} failed: {reason}"
                if self.store.compare_set(self._key("reason"), "", who).decode() == who:
                    log(error)
            until = time.monotonic() + SECONDS_TO_AGREE
            count = self.store.add(self._key("failed"), 1)
            while count < self.place.size and time.monotonic() < until:
                time.sleep(0.05)
                count = self.store.add(self._key("failed"), 0)
        except Exception:  # the process with the store is gone
            count = 0
        if count < self.place.size:
            self.stop("another process of this run has ended", 1)
        self.agreed += 1
        self.failing, self.save = False, None

    def stop(self, reason: str, code: int) -> NoReturn:
        """End this process; the first one to stop saves the work, and says why in one sentence."""
        if not self._stops.acquire(blocking=False):
            threading.Event().wait()  # the other thread ends the process
        if self._reports():
            with suppress(Exception):
                if self.store.check([self._key("reason")]):
                    reason = self.store.get(self._key("reason")).decode()
            try:
                saved = "" if self.save is None else self.save()
            except Exception as error:  # such as a full disk
                saved = f"no checkpoint could be saved ({type(error).__name__}: {error})"
            sentence = "; ".join(part for part in (reason, saved, RESUMES) if part)
            print(f"error: {printable(sentence)}", file=sys.stderr, flush=True)
        os._exit(code)

    def _reports(self) -> bool:
        """Whether this process saves and reports: the first one, or another if that is gone."""
        if self.place.rank:
            time.sleep(SECONDS_FOR_THE_FIRST)
        try:
            return bool(self.store.add("stops", 1) == 1)
        except Exception:  # gone with the first process
            return self.place.rank == 1

    def _key(self, what: str) -> str:
        return f"{what}/{self.agreed}"


def _words(number: int) -> str:
    if number == signal.SIGINT:
        return "interrupted"
    return "stopped by SIGTERM, which the launcher sends once another process has ended"


def _lost(error: Exception) -> bool:
    """Whether an error only says that another process cannot be reached."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo/" in str(error)


_watch: Watch | None = None


def start(store: Any, place: Place) -> None:
    """Watch from now on."""
    global _watch
    _watch = Watch(store, place)
    _watch.start()


def end() -> None:
    """Watch no longer, as the process ends."""
    if _watch is not None:
        _watch.ended = True


def agree(error: Exception, log: Callable[[Exception], object]) -> None:
    """Return if this failure is common to all processes, or if there is only one; otherwise all
    stop. log: called in the first process to fail."""
    if _watch is not None:
        _watch.agree(error, log)


@contextmanager
def saved_by(save: Save) -> Iterator[None]:
    """Let `save` save the work if the processes stop inside the context; another thread calls
    it."""
    if _watch is None:
        yield
        return
    _watch.save = save
    yield
    # not after an error, which may be that another process has ended
    _watch.save = None
