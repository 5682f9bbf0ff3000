"""What a viewer shows, and the book of images and captions that its items refer to: each once, within a budget."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.data.manifest import Manifest, SplitView
from fne.report.picks.thumbnails import SIDE, Pictures
from fne.utils.text import clean


@dataclass(frozen=True)
class Viewer:
    """What a viewer shows.

    Args:
        kind: ``picks`` or ``queries``, which says how its script shows an item.
        rule: How the items were chosen, in words; or why there are none.
        data: What the script reads, as JSON that is safe in a ``<script>`` element; ``None`` where there is nothing.
        items: How many items there are.
        pixelated: Whether images are enlarged pixel by pixel, as those of a small drawn world.
    """

    kind: str
    rule: str
    data: str | None = None
    items: int = 0
    pixelated: bool = False


class Book:
    """The images and captions of a split that the items of a viewer refer to, each once.

    Args:
        view: The split.
        files: The file of each of its images; none at all where there are no images on this machine.
        budget: Greatest sum of all embedded images, in bytes of the page.
        pixelated: As of :class:`Viewer`.
    """

    def __init__(self, view: SplitView, files: Sequence[Path], budget: int, pixelated: bool = False) -> None:
        self.view, self.files, self.budget, self.pixelated = view, files, budget, pixelated
        self.pictures = Pictures(budget)
        self.images: list[list[Any]] = []  # picture or None, place of its first caption, id
        self.captions: list[list[Any]] = []  # text, place of its image
        self._image_at: dict[int, int] = {}
        self._caption_at: dict[int, int] = {}

    @classmethod
    def of(cls, manifest: Manifest, view: SplitView, budget: int) -> Book:
        """The book of a split of prepared data."""
        return cls(view, manifest.image_paths(view.name), budget, pixelated=manifest.dataset == "scenes")

    def admit(self, direction: int, item: int, others: Iterable[int]) -> bool:
        """Embed the images of an item and of those of the other side, or none where the budget would not hold them.

        Args:
            direction: 0: the item is an image and the others are captions; 1: the other way round.
            item, others: Positions within the split.
        """
        owner = self.view.caption_image
        images = {item, *(owner[each] for each in others)} if direction == 0 else {owner[item], *others}
        return not self.files or self.pictures.admit(self.files[image] for image in sorted(map(int, images)))

    def sides(self, direction: int) -> tuple[Callable[[int], int], Callable[[int], int]]:
        """What places an item of the asking side in the book, and what places those of the other side."""
        return (self.image, self.caption) if direction == 0 else (self.caption, self.image)

    def image(self, image: int) -> int:
        """The place of an image with its first caption."""
        if image not in self._image_at:
            self._image_at[image] = len(self.images)
            picture = self.pictures.number(self.files[image]) if self.files else None
            entry: list[Any] = [picture, None, clean(str(self.view.image_ids[image]))]
            self.images.append(entry)
            entry[1] = self.caption(int(np.searchsorted(self.view.caption_image, image)))
        return self._image_at[image]

    def caption(self, caption: int) -> int:
        """The place of a caption with its image."""
        if caption not in self._caption_at:
            self._caption_at[caption] = len(self.captions)
            text = self.view.texts[caption] or f"Caption {self.view.caption_ids[caption]}"
            entry: list[Any] = [clean(text), None]
            self.captions.append(entry)
            entry[1] = self.image(int(self.view.caption_image[caption]))
        return self._caption_at[caption]

    def viewer(self, kind: str, content: Mapping[str, Any], rule: str, cut: bool, note: str = "") -> Viewer:
        """The viewer of items that refer to this book.

        Args:
            kind: As of :class:`Viewer`.
            content: What its script reads, ``items`` among it.
            rule: How the items were chosen.
            cut: Whether the budget left out items.
            note: What else a reader has to know.
        """
        data = {"pictures": self.pictures.embedded, "images": self.images, "captions": self.captions, **content}
        words = f"{rule} Images are at most {SIDE} pixels wide or high"
        if cut:
            words += f" and {self.budget / 1e6:.1f} MB together, which is why there are no more"
        if self.pictures.unreadable:
            words += f". Images that could not be read: {self.pictures.unreadable}"
        elif not self.files:
            words = f"{rule} There are no image files here, so that ids stand in for images"
        return Viewer(kind, f"{words}.{note}", safe_json(data), len(content["items"]), self.pixelated)


def brief(value: float) -> float | None:
    """A number with four digits; ``None`` where it is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def safe_json(value: Any) -> str:
    """JSON in letters of ASCII that cannot end a ``<script>`` element nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
