"""What was worked out from files, remembered by size, times and inode: a file is read again only when it changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fne.utils.errors import UserError
from fne.utils.files import SCHEMAS, read_json, require_schema, sha256_file, write_text
from fne.utils.shape import check

FOLDER = Path(".fne")
"""Where a project keeps what was worked out."""
YOUNG = 2.0
"""Seconds within which a file may change again without another time: what is that young is not remembered."""


class Remembered:
    """Values by file, kept in a JSON file.

    A file is another one when its size, inode, or one of its times (of content, of status; in ns) is another one.

    Args:
        file: Where they are kept; a folder that cannot be written keeps none.
        made_by: What makes the values; those of another maker are forgotten.

    Raises:
        UserError: The file is of another version.
    """

    def __init__(self, file: Path, made_by: str = "sha256") -> None:
        self.file, self.made_by = file, made_by
        self._values: dict[str, list[Any]] = {}
        self._changed = False
        if file.is_file():
            hint = "remove it: it is made again"
            stored = read_json(file, hint)  # of a line for each picture of a corpus, each dry run reads it
            require_schema(stored, "remembered", file, hint)
            check(stored, {"made_by": str, "values": dict}, file, more=True, hint=hint)
            if stored["made_by"] == made_by:
                self._values = stored["values"]

    def get(self, path: Path, make: Callable[[Path], Any] = sha256_file) -> Any:
        """The value of a file as it is now, by default its SHA-256."""
        key, now = str(path.absolute()), stamp(path)
        known = self._values.get(key)
        if isinstance(known, list) and len(known) == 2 and known[0] == now:
            return known[1]
        value = make(path)
        if stamp(path) == now and time.time() - max(now[1], now[2]) / 1e9 > YOUNG:
            self._values[key] = [now, value]
            self._changed = True
        return value

    def save(self) -> None:
        """Write what is new."""
        if not self._changed:
            return
        content = {"schema": SCHEMAS["remembered"], "made_by": self.made_by, "values": self._values}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, json.dumps(content))
        except (OSError, UserError):  # a project that cannot be written: digests are worked out each time
            return
        self._changed = False


def stamp(path: str | Path) -> list[int]:
    """What tells a file from one that took its place: size, times of content and status in ns, inode."""
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
