"""A terminal to write to."""

from __future__ import annotations

import io
import re


class Terminal(io.StringIO):
    """What a program writes to a terminal."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """What was written without control sequences."""
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.getvalue())
