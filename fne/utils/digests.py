"""What was worked out from files, remembered by size, times and inode: a file is read again only when it changed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fne.utils.errors import UserError
from fne.utils.files import atomic_path, read_bytes, sha256_bytes, sha256_file

FOLDER = Path(".fne")
"""Where a project keeps what was worked out."""
YOUNG = 2.0
"""Seconds within which a file may change again without another time: what is that young is not remembered."""


class Remembered:
    """Values by file, kept in a file.

    A file is another one when its size, inode, or one of its times (of content, of status; in ns) is another one.

    Args:
        file: Where they are kept; a folder that cannot be written keeps none. None: nowhere.
        made_by: What makes the values; those of another maker, and those of a file that was cut or edited, are
            forgotten.
    """

    def __init__(self, file: Path | None, made_by: str = "sha256") -> None:
        self.file, self.made_by = file, made_by
        self._values: dict[str, list[Any]] = {}
        self._changed = False
        if file is None:
            return
        with contextlib.suppress(UserError):  # on a shared file system another machine may be replacing it
            head, _, values = read_bytes(file).partition(b"\n")
            if head == self._head(values):
                self._values = json.loads(values)

    def _head(self, values: bytes) -> bytes:
        """The first line of the file."""
        return f"{sha256_bytes(values)} of values made by {self.made_by}".encode()

    def get(self, path: Path, make: Callable[[Path], Any] = sha256_file) -> Any:
        """The value of a file as it is now, by default its SHA-256."""
        key, now = str(path.absolute()), stamp(path)
        known = self._values.get(key)
        if known is not None and known[0] == now:
            return known[1]
        value = make(path)
        if stamp(path) == now and time.time() - max(now[1], now[2]) / 1e9 > YOUNG:
            self._values[key] = [now, value]
            self._changed = True
        return value

    def save(self) -> None:
        """Write what is new."""
        if self.file is None or not self._changed:
            return
        values = json.dumps(self._values).encode()
        try:
            with atomic_path(self.file) as temporary:
                temporary.write_bytes(self._head(values) + b"\n" + values)
        except (OSError, UserError):  # a project that cannot be written: digests are worked out each time
            return
        self._changed = False


def stamp(path: str | Path) -> list[int]:
    """What tells a file from one that took its place: size, times of content and status in ns, inode."""
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
