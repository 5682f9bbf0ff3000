"""The pictures of the viewer: small, each embedded once however often it is shown, within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from fne.utils.errors import UserError

SIDE = 112
"""Longest side of a picture, in pixels."""


def thumbnail(file: Path) -> str | None:
    """A small JPEG as a ``data:`` address, or ``None`` where the file cannot be read."""
    from fne.data.decoding import read_rgb

    try:
        picture = read_rgb(file)
    except UserError:
        return None
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class Pictures:
    """Small pictures by number; a picture that cannot be read has none.

    Args:
        budget: Greatest sum of all embedded pictures, in bytes of the page.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self.unreadable = 0
        self.embedded: list[str] = []
        self._numbers: dict[Path, int | None] = {}

    def admit(self, files: Iterable[Path]) -> bool:
        """Embed all of these files, or none of the new ones where the budget would not hold them."""
        new = [file for file in dict.fromkeys(files) if file not in self._numbers]
        made = {file: thumbnail(file) for file in new}
        size = sum(len(address) for address in made.values() if address is not None)
        if self.used + size > self.budget:
            return False
        self.used += size
        for file, address in made.items():
            self._numbers[file] = None if address is None else len(self.embedded)
            if address is None:
                self.unreadable += 1
            else:
                self.embedded.append(address)
        return True

    def number(self, file: Path) -> int | None:
        """The place of an admitted file's picture in ``embedded``; ``None`` where it could not be read."""
        return self._numbers[file]
