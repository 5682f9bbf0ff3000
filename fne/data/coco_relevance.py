"""Relevance files of COCO's test split: the pairs that ECCV Caption and CxC count as right, by COCO's own ids.

A protocol has two files, ``<protocol>_image_to_caption.json`` and ``<protocol>_caption_to_image.json``: a query's id
(text) -> the ids of everything that is right (numbers). The two are different sets of queries, and not each other's
transposes.

Source: ECCV Caption (Chun et al., ECCV 2022) and Crisscrossed Captions (Parekh et al., EACL 2021), both in the folder
``data`` of the PyPI package ``eccv_caption``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fne.data.manifest import SplitView
from fne.data.text_files import ID_DIGITS, read_json, say_nearest, to_id
from fne.utils.errors import bad_input
from fne.utils.files import sha256_file, sha256_text
from fne.utils.shape import ANY, check

FILES = {"i2t": "image_to_caption", "t2i": "caption_to_image"}
SOURCE = "the files come with the PyPI package eccv_caption, in its folder eccv_caption/data"
_IMAGE_FILE = re.compile(rf"(?:^|\D)(\d{{1,{ID_DIGITS}}})(?:\.\w+)?$", re.ASCII)


@dataclass(frozen=True)
class Relevance:
    """What one protocol counts as right in a split, per direction.

    Attributes:
        protocol: ``eccv`` or ``cxc``.
        pairs: int32 (P, 2), rows (image position, caption position), sorted and unique; their queries are scored.
        outside: int32 (A,), the query of every positive that is not in the gallery: it counts in R, as it does in
            the reference package, and no ranking can find it (ECCV Caption has two).
        sha256: Of both files.
    """

    protocol: str
    pairs: Mapping[str, np.ndarray]
    outside: Mapping[str, np.ndarray]
    sha256: str


def files(folder: str | Path, protocol: str) -> dict[str, Path]:
    """The file of each direction."""
    return {direction: Path(folder) / f"{protocol}_{name}.json" for direction, name in FILES.items()}


def digest(folder: str | Path, protocol: str) -> str:
    """Hex SHA-256 over the content of both files.

    Raises:
        UserError: One is missing.
    """
    parts = []
    for file in files(folder, protocol).values():
        if not file.is_file():
            hint = say_nearest(file, SOURCE)
            raise bad_input("no such file", file=file, key=f"evaluation.relevance.{protocol}", hint=hint)
        parts.append(sha256_file(file))
    return sha256_text("".join(parts))


def read(folder: str | Path, protocol: str, view: SplitView) -> Relevance:
    """Read a protocol's files and place them in a split.

    Args:
        folder: Where both files lie.
        protocol: ``eccv`` or ``cxc``.
        view: The split that is searched; see :func:`coco_ids`.

    Raises:
        UserError: A file is missing or malformed, or is about other images or captions than the split's.
    """
    sha256 = digest(folder, protocol)
    images, captions = coco_ids(view)
    pairs, outside = {}, {}
    for direction, file in files(folder, protocol).items():
        queries, gallery = (images, captions) if direction == "i2t" else (captions, images)
        result, lost = _placed(_parse(file), queries, gallery, file, view.name)
        pairs[direction] = np.unique(result if direction == "i2t" else result[:, ::-1], axis=0).astype(np.int32)
        outside[direction] = lost
    return Relevance(protocol, pairs, outside, sha256)


def coco_ids(view: SplitView) -> tuple[dict[int, int], dict[int, int]]:
    """COCO's own ids -> positions within a split, of images (from their file names) and of captions.

    Raises:
        UserError: An image's file name does not end in a number, a caption's id is none, or one occurs twice.
    """
    names = [_IMAGE_FILE.search(name) for name in view.image_ids]
    images = [int(match[1]) if match else None for match in names]
    captions = [to_id(str(sentid)) for sentid in view.sentids or view.caption_ids]
    return (
        _positions(images, view.image_ids, "image", "COCO's images are named like COCO_val2014_000000391895.jpg"),
        _positions(captions, view.caption_ids, "caption",
                   "prepare COCO from Karpathy's dataset_coco.json: its `sentid` is COCO's id of a caption"),
    )  # fmt: skip


def _positions(numbers: list[int | None], names: list[str], what: str, hint: str) -> dict[int, int]:
    places = {number: place for place, number in enumerate(numbers) if number is not None}
    if len(places) < len(names):
        odd = names[min(set(range(len(names))) - set(places.values()))]
        problem = f"a relevance file cannot be matched: {what} without a COCO id of its own"
        raise bad_input(problem, key=f"{what} id", value=odd, hint=hint)
    return places


def _parse(file: Path) -> dict[int, list[int]]:
    stored = read_json(file)
    check(stored, {ANY: [int]}, file, hint=SOURCE)
    for query in stored:
        if str(to_id(query)) != query:  # "09" would be a second 9
            raise bad_input("not a COCO id", file=file, key="query", value=query, hint=SOURCE)
    return {int(query): items for query, items in stored.items()}


def _placed(
    stored: Mapping[int, Iterable[int]], queries: Mapping[int, int], gallery: Mapping[int, int], file: Path, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (query position, item position), and the query of every positive outside the gallery."""
    unknown = [query for query in stored if query not in queries]
    if unknown:
        problem = f"{len(unknown):,} of its {len(stored):,} queries are not in the {split} split"
        hint = f"this file is about Karpathy's test split of COCO: give that corpus. Otherwise {SOURCE}"
        raise bad_input(problem, file=file, key="query", value=unknown[0], hint=hint)
    result, lost = [], []
    for query, items in stored.items():
        inside = [gallery[item] for item in items if item in gallery]
        if not inside:
            raise bad_input(f"no positive of a query is in the {split} split", file=file, key=str(query), value=items)
        result += [(queries[query], item) for item in inside]
        lost += [queries[query]] * len({item for item in items if item not in gallery})
    return np.array(result), np.array(lost, dtype=np.int32)
