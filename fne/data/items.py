"""The seam between annotation files and everything after them: images with file, split and captions."""

from __future__ import annotations

import itertools
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.data.manifest import SPLITS, SplitView
from fne.data.text_files import ID_DIGITS
from fne.data.truth import EqualCaptions
from fne.utils.errors import bad_input

SPLIT_OF = {
    "train": "train", "restval": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"
}  # fmt: skip
"""Names of splits in files. COCO's ``restval`` images are training images, as in every paper that uses the
Karpathy split."""

NAMED = 5
"""How many offenders a message names."""
MOST_PAIRS, PLACEHOLDER = 2**24, 0.1
"""A text that makes so many pairs by itself, and so large a share of a split's captions, is no caption."""
LONGEST = 20_000
"""Characters of a text that can be a caption or a name."""
_NO_TEXT = re.compile("[\0\x1e\x1f\ud800-\udfff]")
"""What part fields in digests (:func:`fne.data.manifest.digest_rows`), and what UTF-8 cannot hold."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image with its captions, in caption order.

    Attributes:
        filename: The image's id, its file name (its whole path where two folders hold the same name).
        file: Path relative to the folder of images.
        split: ``train``, ``val`` or ``test``.
        captions: The texts.
        sentids: The file's own id of every caption (in COCO's file the annotation id of COCO); None where it
            has none.
    """

    filename: str
    file: str
    split: str
    captions: list[str]
    sentids: list[Any] | None = None

    def caption_ids(self) -> list[str]:
        """The captions' ids in the manifest, ``<filename>#k``."""
        return [f"{self.filename}#{k}" for k in range(len(self.captions))]


@dataclass(slots=True)
class Record:
    """One row of an annotation file: an image and one or more of its captions; the first of an image gathers them all.

    Attributes:
        place: File and row, for messages.
        file, split, captions, sentids: As in :class:`Item`.
        image_id: The row's own id of the image, or None.
    """

    place: tuple[Path, str]
    file: str
    split: str
    captions: list[str]
    sentids: list[Any] | None = None
    image_id: Any = None


def to_items(records: Iterable[Record]) -> list[Item]:
    """Gather the rows of each image, in the order in which images and captions occur.

    Raises:
        UserError: An image is in several splits, or images and their ids do not belong together one to one.
    """
    rows: dict[str, Record] = {}
    owner: dict[str, str] = {}
    for record in records:
        first = rows.setdefault(record.file, record)
        if record.split != first.split:
            problem = f"{record.file} is in more than one split"
            allowed = [first.split]
            raise bad_input(problem, file=record.place[0], key=record.place[1], value=record.split, allowed=allowed)
        if record.image_id is not None or first.image_id is not None:
            other = owner.setdefault(repr(record.image_id), record.file)
            if other != record.file or first.image_id != record.image_id:
                problem = f"the id of {record.file} is that of another image, or not the one it has elsewhere"
                key = f"{record.place[1]}.image_id"
                raise bad_input(problem, file=record.place[0], key=key, value=record.image_id)
        if first is not record:
            first.captions += record.captions
            if first.sentids is not None and record.sentids is not None:
                first.sentids += record.sentids
            else:
                first.sentids = None
    names = [posixpath.basename(file) for file in rows]
    ids = names if len(set(names)) == len(names) else list(rows)
    return [
        Item(name, file, row.split, row.captions, row.sentids)
        for name, (file, row) in zip(ids, rows.items(), strict=True)
    ]


def by_split(items: Sequence[Item], path: Path) -> list[Item]:
    """Group items as train, val, test, in the file's order within a split.

    Raises:
        UserError: A split has no image.
    """
    for split in SPLITS:
        if not any(item.split == split for item in items):
            raise bad_input("a split has no image", file=path, key="split", value=split)
    return sorted(items, key=lambda item: SPLITS.index(item.split))


def split_of(value: Any, name: str, path: Path, key: str) -> str:
    """The split that a value of an annotation file names, in capitals or not.

    Raises:
        UserError: It names none.
    """
    result = SPLIT_OF.get(value.strip().casefold()) if isinstance(value, str) else None
    if result is None:
        raise bad_input(f"wrong split of {name}", file=path, key=key, value=value, allowed=SPLIT_OF)
    return result


def text_of(value: Any, path: Path, key: str, what: str = "caption") -> str:
    """A caption or the name of a file, without white space around it.

    Raises:
        UserError: It is not text, empty, far too long, or holds what no file of ours can.
    """
    allowed = f"text of 1 to {LONGEST} characters"
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
        raise bad_input(f"not a {what}", file=path, key=key, value=value, allowed=allowed)
    if result := _NO_TEXT.search(value):
        raise bad_input("holds a character that is no text", file=path, key=key, value=result[0])
    return value.strip()


def image_file(value: Any, path: Path, key: str, folder: Any = None) -> str:
    """The path of an image below the folder of images, ``folder/value``.

    Raises:
        UserError: It is no path, or leads out of the folder.
    """
    # Not pathlib, which takes most of the time of half a million rows.
    file = posixpath.join(*(text_of(part, path, key, "file name") for part in (folder or "./", value)))
    if file.startswith("/") or ".." in file.split("/") or posixpath.normpath(file) == ".":
        raise bad_input("leaves the images folder", file=path, key=key, value=file,
                        hint="give paths relative to data.images")  # fmt: skip
    return posixpath.normpath(file)


def caption_id(value: Any, path: Path, key: str) -> int | str:
    """The file's own id of a caption.

    Raises:
        UserError: It is neither a number nor a text.
    """
    if type(value) is int and abs(value) < 10**ID_DIGITS:
        return value
    return text_of(value, path, key, "caption's id")


def check_counts(items: Sequence[Item], counts: Mapping[str, int | None] | None, path: Path) -> None:
    """Refuse a corpus whose splits do not hold the number of images the configuration states.

    Raises:
        UserError: Naming the split, what it holds and what it should hold.
    """
    held = Counter(item.split for item in items)
    for split, requested in (counts or {}).items():
        result = held[split]
        if requested is not None and result != requested:
            problem = f"the {split} split has another number of images than data.counts.{split} states"
            raise bad_input(problem, file=path, key=split, value=result, allowed=[requested])


def view_of(items: Sequence[Item], split: str) -> SplitView:
    """One split of images grouped by split, as the manifest will show it.

    An image's id is its file name, its k-th caption's id ``<file name>#k``.
    """
    before = [len(item.captions) for item in itertools.takewhile(lambda item: item.split != split, items)]
    chosen = [item for item in items if item.split == split]
    count = [len(item.captions) for item in chosen]
    known = all(item.sentids is not None for item in items)
    return SplitView(
        split,
        np.arange(len(before), len(before) + len(chosen)),
        np.arange(sum(before), sum(before) + sum(count)),
        np.repeat(np.arange(len(chosen)), count),
        [text for item in chosen for text in item.captions],
        [item.filename for item in chosen],
        [name for item in chosen for name in item.caption_ids()],
        [sentid for item in chosen for sentid in item.sentids or ()] if known else None,
    )


def equal_captions(items: Sequence[Item], split: str, path: Path | None = None) -> EqualCaptions:
    """What can be proved from the texts alone: own pairs, and images of a split that share a caption.

    Two captions are equal when :func:`normalise` makes the same text of them. A lower bound of the truth, so no query
    may be scored by it.

    Raises:
        UserError: So many captions are one text that they cannot be captions.
    """
    chosen = [item for item in items if item.split == split]
    numbers: dict[str, int] = {}
    texts = (normalise(caption) for item in chosen for caption in item.captions)
    group = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int32)
    owner = np.repeat(np.arange(len(chosen), dtype=np.int32), [len(item.captions) for item in chosen])
    count = np.bincount(group)
    if (most := int(count.max(initial=0))) ** 2 > MOST_PAIRS and most > PLACEHOLDER * len(group):
        problem = f"{most:,} of {len(group):,} captions of the {split} split are the same text"
        raise bad_input(problem, file=path, key="captions", value=list(numbers)[count.argmax()][:80],
                        hint="are they placeholders? give captions that say what a picture shows")  # fmt: skip
    return EqualCaptions(owner, group)


class _Letters(dict[int, str | None]):
    """For :meth:`str.translate`: letters, marks, numbers and pictographs stay, the rest parts words.

    What shows nothing (soft hyphen, joiners) vanishes.
    """

    def __missing__(self, code: int) -> str | None:
        kind = unicodedata.category(chr(code))
        parts = kind[0] in "PZ" or kind in ("Cc", "Sm", "Sc", "Sk")
        self[code] = " " if parts else None if kind == "Cf" else chr(code)
        return self[code]


_LETTERS = _Letters()


def normalise(text: str) -> str:
    """Words of a caption: NFKC, case folded, without punctuation; a text of none stays as it is.

    Pictographs count as words: two texts may differ in them alone.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_LETTERS).split()) or text.strip()
