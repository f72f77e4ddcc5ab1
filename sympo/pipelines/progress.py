"""Progress of running cells, as users see it: number, epoch, accuracy, time left."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from sympo.types import printable

SECONDS_BETWEEN_LINES = 15  # if the output is a file
_noted: set[str] = set()


def note_once(text: str, note: Callable[[str], None]) -> None:
    """Show a message, unless it is empty or this process has shown it."""
    if text and text not in _noted:
        _noted.add(text)
        note(text)


class Screen(Protocol):
    """Shows progress; `place` distinguishes what is shown at the same time."""

    def line(self, place: int, text: str) -> None:
        """Show a permanent line."""

    def live(self, place: int, text: str) -> None:
        """Show the current activity of a place."""


class Terminal:
    """Prints permanent lines above one live line; in a file, an occasional line instead."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.is_live = stream, stream.isatty()
        self.said = time.monotonic()
        self.now: dict[int, str] = {}

    def line(self, place: int, text: str) -> None:
        self.now.pop(place, None)
        clear = "\r\033[K" if self.is_live else ""
        print(f"{clear}{printable(text)}", file=self.stream, flush=True)
        self._show()

    def live(self, place: int, text: str) -> None:
        self.now[place] = printable(text)
        if self.is_live:
            self._show()
        elif time.monotonic() - self.said > SECONDS_BETWEEN_LINES:
            self.said = time.monotonic()
            print("\n".join(self.now.values()), file=self.stream, flush=True)

    def _show(self) -> None:
        if self.is_live and self.now:
            text = " | ".join(self.now[place] for place in sorted(self.now))
            width = shutil.get_terminal_size().columns - 1
            shown = text if len(text) <= width else text[: width - 1] + "…"
            print(f"\r\033[K{shown}", end="", file=self.stream, flush=True)


class Silent:
    """Shows nothing."""

    def line(self, place: int, text: str) -> None:
        pass

    def live(self, place: int, text: str) -> None:
        pass


class Progress:
    """Reports the progress of one cell, or of a batch of cells trained together.

    head: the name to show.
    """

    def __init__(self, head: str, screen: Screen | None = None, place: int = 0) -> None:
        self.head, self.place = head, place
        self.screen = Terminal(sys.stdout) if screen is None else screen
        self.began = time.monotonic()

    def status(self, text: str) -> None:
        """Show the current activity."""
        self.screen.live(self.place, f"{self.head}  {text}")

    def note(self, text: str) -> None:
        """Show a message in a permanent line."""
        self.screen.line(self.place, f"{self.head}  {text}")

    def end(self, text: str) -> None:
        """Show a last message, with the time taken."""
        self.note(f"{text}  {duration(time.monotonic() - self.began)}")


def heading(at: int, of: int, name: object) -> str:
    """`[ 3/12] NAME`."""
    return f"[{at:>{len(str(of))}}/{of}] {name}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def duration(seconds: float) -> str:
    """`4.1 s`, `3 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
