"""Watch a study until it has ended, on a terminal; elsewhere print its state once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TextIO

from fne.report.tensorboard import Events
from fne.report.terminal import draw
from fne.results.progress_files import DONE, Run, look
from fne.study.api import Study
from fne.utils.progress import live_console

EVERY = 2.0
"""Seconds between two looks; a look reads small files only."""


def run(
    study: Study, root: Path, *, once: bool = False, tensorboard: Path | None = None, stream: TextIO | None = None
) -> None:
    """Show the study: on a terminal again and again while it runs; Ctrl-C ends the watching and nothing else.

    Args:
        study: The study; it may have begun or not.
        root: The project's folder.
        once: One look only; so it is too where the output is no terminal that can be redrawn.
        tensorboard: A folder for TensorBoard's event files of every run's curves, kept up to date.
        stream: Where to draw; standard output.

    Raises:
        UserError: ``tensorboard`` is requested and its package is not installed.
    """
    stream = stream or sys.stdout
    events = Events(tensorboard) if tensorboard is not None else None
    console = None if once else live_console(stream)

    def current() -> list[Run]:
        runs = look(study, root)
        if events is not None:
            events.add(runs)
        return runs

    runs = current()
    if console:
        from rich.live import Live
        from rich.text import Text

        with Live(console=console, screen=True, auto_refresh=False) as screen:
            while any(run.state != DONE for run in runs):
                text = "\n".join(draw(study, runs, console.height))
                screen.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
                time.sleep(EVERY)
                runs = current()
    print(*draw(study, runs), sep="\n", file=stream, flush=True)
