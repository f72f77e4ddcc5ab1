"""What a user sees of a running cell: which of how many, epoch, accuracy, time left."""

import sys
import time
from typing import TextIO

SECONDS_BETWEEN_LINES = 15  # where the output is a file


class Progress:
    """Reports one cell: one live line on a terminal, a line now and then in a file."""

    def __init__(
        self, name: str, cell: int, cells: int, epochs: int, stream: TextIO | None = None
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.head = f"[{cell:>{len(str(cells))}}/{cells}] {name}"
        self.others, self.epochs = cells - cell, epochs
        self.live = self.stream.isatty()
        self.started = self.said = time.monotonic()
        self._show(f"{self.head}  epoch 0/{epochs}")

    def update(self, epoch: int, metric: str, value: float | None) -> None:
        """Show an evaluation and how long it will take from here."""
        left = (time.monotonic() - self.started) / epoch * (self.epochs - epoch)
        rest = self.others * (time.monotonic() - self.started) / epoch * self.epochs
        self._show(
            f"{self.head}  epoch {epoch}/{self.epochs}  {metric} {percent(value)}  "
            f"{duration(left)} left"
            + (f", sweep at most {duration(left + rest)}" if self.others else "")
        )

    def end(self, text: str) -> None:
        """Close the cell with one lasting line."""
        seconds = time.monotonic() - self.started
        clear = "\r\033[K" if self.live else ""
        print(f"{clear}{self.head}  {text}  {duration(seconds)}", file=self.stream, flush=True)

    def _show(self, line: str) -> None:
        if self.live:
            print(f"\r\033[K{line}", end="", file=self.stream, flush=True)
        elif time.monotonic() - self.said > SECONDS_BETWEEN_LINES:
            self.said = time.monotonic()
            print(line, file=self.stream, flush=True)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def duration(seconds: float) -> str:
    """`4.1 s`, `3 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
