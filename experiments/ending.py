"""How the program ends if it is stopped, or if nobody reads its output any more."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_RESUMES = "the same command resumes where it stopped"


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it: the program ends as on Ctrl-C."""


def ended(main: Callable[[], int]) -> int:
    """Run a program; returns its exit code, that of a shell if it was stopped.

    130 after Ctrl-C, 143 after SIGTERM, 141 if the output was closed, as by `| head`.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main()
        sys.stdout.flush()
        return code
    except Terminated:
        print(f"\nterminated; {_RESUMES}", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print(f"\ninterrupted; {_RESUMES}", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Python would write what is left when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    raise Terminated
