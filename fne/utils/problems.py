"""Several errors reported as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fne.utils.errors import UserError, bad_input


class SeveralErrors(UserError):
    """More than one thing is wrong; the text lists them all."""

    def __init__(self, heading: str, messages: list[str]) -> None:
        lines = "".join(f"\n  - {message}" for message in messages)
        super().__init__(f"{len(messages)} problems in {heading}:{lines}")
        self.messages = messages


class Problems:
    """Errors collected, each once, so that a person sees all of them before any work starts."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, error: UserError) -> None:
        """Keep an error, or each of several."""
        for message in error.messages if isinstance(error, SeveralErrors) else [str(error)]:
            if message not in self.messages:
                self.messages.append(message)

    def report(self, problem: str, **where: Any) -> None:
        """Keep the error that ``fne.utils.errors.bad_input`` builds of the same arguments."""
        self.add(bad_input(problem, **where))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Run a block; if it raises a ``UserError``, keep it and go on behind the block."""
        try:
            yield
        except UserError as error:
            self.add(error)

    def raise_any(self, heading: str) -> None:
        """Raise what was collected; do nothing when there is nothing.

        Raises:
            UserError: The single message as it is, or ``heading`` and all messages, one a line.
        """
        if len(self.messages) == 1:
            raise UserError(self.messages[0])
        if self.messages:
            raise SeveralErrors(heading, self.messages)
