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
        self.began = self.started = self.said = time.monotonic()
        self.first, self.metric = 0.0, ""
        self._show(f"{self.head}  epoch 0/{epochs}")

    def update(self, epoch: float, metric: str | None = None) -> None:
        """Show how far the cell is, its latest metric, and how long it will take from here."""
        self.metric = metric or self.metric
        if self.live or metric or time.monotonic() - self.said > SECONDS_BETWEEN_LINES:
            text = f"epoch {epoch:.3g}/{self.epochs}  {self.metric}"
            if epoch > self.first:
                a_whole = (time.monotonic() - self.started) / (epoch - self.first) * self.epochs
                left = a_whole * (self.epochs - epoch) / self.epochs
                text += f"  {duration(left)} left"
                if self.others:
                    text += f", sweep at most {duration(left + self.others * a_whole)}"
            else:
                self.started, self.first = time.monotonic(), epoch
            self._show(f"{self.head}  {text}")

    def status(self, text: str) -> None:
        """Show what goes on before the first epoch."""
        self._show(f"{self.head}  {text}")

    def note(self, text: str) -> None:
        """Say something in a line that stays."""
        clear = "\r\033[K" if self.live else ""
        print(f"{clear}{self.head}  {text}", file=self.stream, flush=True)

    def end(self, text: str) -> None:
        """Close the cell with one lasting line."""
        seconds = time.monotonic() - self.began
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
