"""What a scheduler's signals request of training: a checkpoint after the current step, and the end with it or not."""

from __future__ import annotations

import signal
from typing import Self

NOTHING, SAVE, STOP = range(3)
TERMINATED = 128 + signal.SIGTERM
"""The exit status of a job that SIGTERM ended."""


WISHES = {signal.SIGTERM: STOP, signal.SIGUSR1: SAVE}


class Requests:
    """Remember SIGTERM (:data:`STOP`) and SIGUSR1 (:data:`SAVE`) within ``with``, where they interrupt nothing.

    After SIGUSR1 work goes on: Slurm's ``--signal`` sends it before the time limit, up to which every step counts, and
    what follows is SIGTERM. Where a handler cannot be set (not the main thread) nothing is ever requested.
    """

    def __init__(self) -> None:
        self._save = self._stop = False

    def __enter__(self) -> Self:
        try:
            self._previous = {number: signal.signal(number, self._remember) for number in WISHES}
        except ValueError:  # not the main thread: whoever runs us handles signals
            self._previous = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: object) -> None:
        if WISHES[signal.Signals(number)] == STOP:
            self._stop = True
        else:
            self._save = True

    def take(self) -> int:
        """What is requested now; a checkpoint is requested once, the end for good."""
        if self._stop:
            return STOP
        wish, self._save = SAVE if self._save else NOTHING, False  # a signal between the two is answered by this save
        return wish


def ignore() -> None:
    """Leave both signals to the process that started this one, a worker process: they reach a whole group at once."""
    for number in WISHES:
        signal.signal(number, signal.SIG_IGN)
