"""Progress of long work: a live bar with a rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """Count work done towards a total and tell a person about it, within ``with``.

    On a terminal one line is redrawn at most four times a second; elsewhere a plain line is printed at most once
    every ``log_every`` seconds, and at the end.

    Args:
        label: What is being done, e.g. ``"train fne"``.
        total: How many units there are in all.
        unit: The name of a unit, in the plural, e.g. ``"steps"``.
        done: Units already done before this run (resumed work); they do not count towards the rate.
        log_every: Seconds between lines where the stream is not a terminal.
        stream: Where to write; standard error by default.

    Attributes:
        outcome: What the last line says at its end.
    """

    def __init__(
        self, label: str, total: int, unit: str, *, done: int = 0, log_every: float = 10.0, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._first = done
        self.outcome = ""
        self.stream = stream or sys.stderr
        self.console = live_console(self.stream)
        self.every = 0.25 if self.console else log_every
        self.start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self.console:
            from rich import progress

            text = progress.TextColumn("{task.description}", markup=False, table_column=progress.Column(no_wrap=True))
            # Drawn by `add`, not by a thread: who forks meanwhile inherits no lock. And stdout may be no terminal.
            columns = progress.BarColumn(20), text
            self._bar = progress.Progress(*columns, console=self.console, auto_refresh=False, redirect_stdout=False)
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)
            self._bar.start()
        return self

    def add(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units as done, with an optional short note (say, the current loss)."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            self._write(note)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write(self.outcome)
        if self.console:
            self._bar.stop()

    def _write(self, note: str) -> None:
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = (self.done - self._first) / seconds
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        text = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, {clock(left)} left"
        text += f", {note}" if note else ""
        if self.console:
            self._bar.update(self._task, completed=self.done, description=text, refresh=True)
        else:
            print(text, file=self.stream, flush=True)


def live_console(stream: TextIO) -> Console | None:
    """What redraws on a terminal, imported only where there is one; None elsewhere."""
    if not stream.isatty():
        return None
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    return console if console.is_interactive else None


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss; ``?`` where they are not known."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
