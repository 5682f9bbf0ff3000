"""Progress of long work: a live line with a rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Count work done towards a total and tell a person about it.

    On a terminal one line is redrawn at most four times a second; elsewhere a plain line is printed at most once
    every ``log_every`` seconds, and at the end.

    Args:
        label: What is being done, e.g. ``"train fne"``.
        total: How many units there are in all.
        unit: The name of a unit, in the plural, e.g. ``"steps"``.
        done: Units already done before this run (resumed work); they do not count towards the rate.
        log_every: Seconds between lines where the stream is not a terminal.
        stream: Where to write; standard error by default.
    """

    def __init__(
        self, label: str, total: int, unit: str, *, done: int = 0, log_every: float = 10.0, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._first = done
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = 0.25 if self.live else log_every
        self.start = self._last = time.monotonic()

    def add(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units as done, with an optional short note (say, the current loss)."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            self._write(now, note)

    def close(self, note: str = "") -> None:
        """Write the last line."""
        self._write(time.monotonic(), note)
        if self.live:
            self.stream.write("\n")
            self.stream.flush()

    def _write(self, now: float, note: str) -> None:
        seconds = max(now - self.start, 1e-9)
        rate = (self.done - self._first) / seconds
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        text = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, {clock(left)} left"
        text += f", {note}" if note else ""
        self.stream.write(f"\r\x1b[K{text}" if self.live else f"{text}\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss; ``?`` where they are not known."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
