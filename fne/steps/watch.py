"""Watch a study until it has ended, on a terminal; elsewhere say once how it stands."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

from fne.report.tensorboard import Events
from fne.report.terminal import draw
from fne.results.progress_files import DONE, look
from fne.study.api import Study

EVERY = 2.0
"""Seconds between two looks; a look reads small files only."""


def run(
    study: Study, root: Path, *, once: bool = False, tensorboard: Path | None = None, stream: TextIO | None = None
) -> None:
    """Show the study, again and again while it runs; Ctrl-C ends the watching and nothing else.

    Args:
        study: The study; it may have begun or not.
        root: The project's folder.
        once: One look only; so it is too where the output is no terminal.
        tensorboard: A folder for TensorBoard's event files of every run's curves, kept up to date.
        stream: Where to draw; standard output.

    Raises:
        UserError: ``tensorboard`` is asked for and its package is not installed.
    """
    stream = stream or sys.stdout
    events = Events(tensorboard) if tensorboard is not None else None
    live = stream.isatty() and not once
    while True:
        runs = look(study, root)
        if events is not None:
            events.add(runs)
        size = shutil.get_terminal_size() if live else None
        # The last line of the terminal is the cursor's: if a line stood there too, the first would scroll away.
        lines = draw(study, runs, size.columns, size.lines - 1) if size else draw(study, runs)
        if live:  # home, each line with its rest cleared, then everything below: no flicker
            stream.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        else:
            stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
        if not live or all(run.state == DONE for run in runs):
            return
        time.sleep(EVERY)
