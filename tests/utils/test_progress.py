"""Progress: a bar on a terminal whatever ends the work, plain lines in a log."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import pytest

from fne.utils.progress import Progress
from tests.terminal import Terminal

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


def work(stream: io.StringIO, fault: type[BaseException] | None = None) -> None:
    with Progress("train [b]fne[/b]", 3, "steps", done=1, log_every=0.0, stream=stream) as progress:
        progress.every = 0.0
        progress.add(1, "validation rsum 1.5")
        if fault is not None:
            raise fault
        progress.add()
        progress.outcome = "epoch 7"


@pytest.fixture
def terminal(monkeypatch) -> Callable[..., Terminal]:
    def make(columns: int = 120, **environment: str) -> Terminal:
        for name, value in ({"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"} | environment).items():
            monkeypatch.setenv(name, value)
        return Terminal()

    monkeypatch.delenv("NO_COLOR", raising=False)
    return make


def without_rate(text: str) -> str:
    return re.sub(r"[\d.]+/s, [\d:]+ left", "RATE", text)


LOG = """train [b]fne[/b]: 2/3 steps, RATE, validation rsum 1.5
train [b]fne[/b]: 3/3 steps, RATE
train [b]fne[/b]: 3/3 steps, RATE, epoch 7
"""


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_log_and_a_terminal_that_cannot_be_redrawn_have_plain_lines(terminal, on_terminal: bool) -> None:
    stream = terminal(TERM="dumb") if on_terminal else io.StringIO()
    work(stream)
    assert without_rate(stream.getvalue()) == LOG


@pytest.mark.parametrize("fault", [None, KeyboardInterrupt, SystemExit, ValueError])
def test_the_cursor_comes_back(terminal, fault) -> None:
    stream, before = terminal(), sys.stderr
    try:
        work(stream, fault)
    except (KeyboardInterrupt, SystemExit, ValueError) as error:
        assert isinstance(error, fault)
    written = stream.getvalue()
    assert written.startswith(HIDDEN) and written.endswith(SHOWN) and "\n" in written and sys.stderr is before
