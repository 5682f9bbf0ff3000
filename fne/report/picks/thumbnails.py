"""The pictures of the page: small, each embedded once however often it is shown, within a stated budget."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fne.report.picks.items import thumbnail


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
