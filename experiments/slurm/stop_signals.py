"""Answers the signals by which SLURM wants a node back."""

import signal
import sys
from types import FrameType, TracebackType

from sympo.runs.stopping import Stopped, ask_to_stop

# SLURM kills a task this long after SIGTERM (KillWait), 30 by default, less what saving takes
SECONDS_AFTER_SIGTERM = 20.0


class NotQueuedAgain(KeyboardInterrupt):
    """The task ran out of time and was not queued again; the message says why. Not an `Exception`:
    it may be raised inside training, whose failures are caught."""


class StopSignals:
    """While entered, SLURM's signals make training stop at its next checkpoint; then, or after the
    grace if no checkpoint comes, the task ends and is queued again."""

    def __init__(self, grace: float) -> None:
        import submitit

        self.warning = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
        self.grace = {self.warning: grace, signal.SIGTERM: SECONDS_AFTER_SIGTERM}
        self.first: int | None = None

    def __enter__(self) -> None:
        self.queue_again = signal.getsignal(self.warning)  # submitit's
        for number in self.grace:
            signal.signal(number, self._asked)
        signal.signal(signal.SIGALRM, lambda number, frame: self._end())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Stopped):
            self._end()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = number
            print(f"{signal.Signals(number).name}: stops at its next checkpoint", flush=True)
            ask_to_stop()
            signal.setitimer(signal.ITIMER_REAL, self.grace[signal.Signals(number)])

    def _end(self) -> None:
        if self.first == self.warning and callable(self.queue_again):
            try:
                self.queue_again(self.warning, None)
            except Exception as error:  # too often already, or SLURM refuses
                raise NotQueuedAgain(str(error).rstrip(".")) from error
        sys.exit(128 + signal.SIGTERM)
