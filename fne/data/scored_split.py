"""The split that somebody's embeddings are of: ids from a table, from annotations of a corpus, or by position alone.

And what counts as right in it beyond an image's own captions: annotations by people, or any list of relevant pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from fne.data import arrow, tabular
from fne.data.coco_relevance import coco_ids
from fne.data.human_annotations import annotated_truth, read_judgements
from fne.data.items import equal_captions, to_items, view_of
from fne.data.manifest import SplitView
from fne.data.sources import SOURCES
from fne.data.text_files import nearest, read_json, read_rows, read_text
from fne.data.truth import Truth, sorted_pairs
from fne.utils.errors import UserError, bad_input
from fne.utils.files import expanded
from fne.utils.shape import ANY, check

CUSTOM = tabular.CUSTOM
COLUMNS = ("image", "caption")
"""Of a table of ids or of relevant pairs."""
NOBODY = np.zeros(0, np.int32)


def dataset_of(corpus: Path) -> str:
    """The data set that a file of annotations is of, as its name says: ``dataset_coco.json``; else ``custom``."""
    name = corpus.stem.removeprefix("dataset_")
    return name if name in SOURCES else tabular.CUSTOM


def from_annotations(place: Path, dataset: str, split: str) -> tuple[SplitView, Truth]:
    """One split of a corpus, and the pairs that equal captions prove.

    Args:
        place: Annotations in any of :data:`fne.data.tabular.FORMATS`; of ``..._{split}.json`` the split's file.
        dataset: Name of the data set.
        split: ``train``, ``val`` or ``test``.

    Raises:
        UserError: They cannot be read, or hold no image of the split.
    """
    place = expanded(place)
    if place.is_dir() or place.suffix.lower() in arrow.SUFFIXES:
        records, _ = arrow.read(place)
    else:
        named = split if "{split}" in place.name else None
        records = list(tabular.read(place.with_name(place.name.replace("{split}", split)), dataset, named))
    items = [item for item in to_items(records) if item.split == split]
    if not items:
        raise bad_input("no image is in the split", file=place, key="split", value=split)
    return view_of(items, split), equal_captions(items, split, place)


def from_rows(rows: Sequence[tuple[str, str]], split: str, file: Path | str) -> tuple[SplitView, np.ndarray]:
    """A split from the ids of image and caption of every caption.

    Returns:
        The split, images in the order in which they first occur and captions by image; and which row each caption is.

    Raises:
        UserError: A caption occurs twice.
    """
    captions = [caption for _, caption in rows]
    _require_once(captions, file, "caption")
    order = list(dict.fromkeys(image for image, _ in rows))
    place = {image: number for number, image in enumerate(order)}
    owner = np.array([place[image] for image, _ in rows])
    kept = np.argsort(owner, kind="stable")
    return view(split, order, [captions[row] for row in kept], owner[kept]), kept


def by_position(n_images: int, n_captions: int, split: str) -> SplitView:
    """Image i has the captions k i to k (i + 1) - 1, for as many captions an image, k, as there are.

    Raises:
        UserError: Their numbers do not allow it.
    """
    if n_captions % n_images:
        problem = f"{n_captions:,} captions of {n_images:,} images: not the same number for every image"
        swapped = n_images % n_captions == 0
        hint = "are the two sides swapped?" if swapped else "say which caption belongs to which image"
        raise bad_input(problem, hint=f"{hint}; --ids FILE.csv with the columns image,caption, or --corpus")
    per_image = n_captions // n_images
    images = [str(number) for number in range(n_images)]
    captions = [f"{image}#{k}" for image in images for k in range(per_image)]
    return view(split, images, captions, np.repeat(np.arange(n_images), per_image))


def view(split: str, images: list[str], captions: list[str], owner: np.ndarray) -> SplitView:
    """A split of these ids; its texts are not known."""
    rows = np.arange(len(images)), np.arange(len(captions))
    return SplitView(split, *rows, owner, [""] * len(captions), images, captions)


def own_truth(split: SplitView) -> Truth:
    """Own pairs alone, which no query is scored by."""
    own = np.stack([split.caption_image, np.arange(len(split.caption_ids))], axis=1)
    return Truth("equal_captions", sorted_pairs(own), NOBODY, NOBODY)


def names(split: SplitView, side: str) -> list[dict[str, int]]:
    """What an item may be called by -> its position: ids, and of COCO the numbers of relevance files."""
    ids = {"images": split.image_ids, "captions": split.caption_ids}[side]
    result = [{name: place for place, name in enumerate(ids)}]
    if side == "captions" and split.sentids is not None:
        result.append({str(name): place for place, name in enumerate(split.sentids)})
    try:
        numbers = coco_ids(split)[side == "captions"]
        result.append({str(number): place for number, place in numbers.items()})
    except UserError:  # not COCO
        pass
    return [item for item in result if len(item) == len(ids)]


def places(ids: Sequence[Any], known: Sequence[Mapping[str, int]], what: str, file: str | Path) -> np.ndarray:
    """The position of every id, by whichever names of :func:`names` fit most of them.

    Raises:
        UserError: One is none of them; says how many are not, and the nearest.
    """
    texts = [str(item) for item in ids]
    best = max(known, key=lambda item: sum(text in item for text in texts[:1000]))
    unknown = [text for text in texts if text not in best]
    if unknown:
        near = nearest(unknown[0], best)
        hint = f"did you mean {near!r}?" if near else f"an id is like {next(iter(best))!r}"
        problem = f"{len(unknown):,} of its {len(texts):,} {what} are not in the corpus"
        raise bad_input(problem, file=file, key=f"{what[:-1]} id", value=unknown[0], hint=hint)
    return np.array([best[text] for text in texts], dtype=np.int64)


def aligned(ids: Sequence[Any], known: Sequence[Mapping[str, int]], what: str, file: str | Path) -> np.ndarray:
    """For every item of a split the row that has its id.

    Raises:
        UserError: As :func:`places`; an id occurs twice, or an item of the split is missing.
    """
    _require_once([str(item) for item in ids], file, f"{what[:-1]} id")
    place = places(ids, known, what, file)
    rows = np.full(len(known[0]), -1)
    rows[place] = np.arange(len(place))
    if (missing := np.flatnonzero(rows < 0)).size:
        problem = f"{missing.size:,} of the {len(rows):,} {what} of the corpus are missing"
        raise bad_input(problem, file=file, key=f"{what[:-1]} id", value=list(known[0])[missing[0]],
                        hint="every query and item of the split needs a row")  # fmt: skip
    return rows


def table(file: Path) -> list[tuple[str, str]]:
    """Image and caption of every row of a table with these two columns among others.

    Raises:
        UserError: A column is missing, or a row is of another length.
    """
    text = read_text(file)
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    (line, header), *rows = read_rows(text, separator, file) or [(1, [""])]
    header = [name.strip() for name in header]
    for name in COLUMNS:
        if header.count(name) != 1:
            raise bad_input(f"no column {name!r}, or several", file=file, key=f"line {line}", value=", ".join(header),
                            allowed="a table with a header, columns image and caption")  # fmt: skip
    if not rows:
        raise bad_input("holds no row", file=file)
    at = [header.index(name) for name in COLUMNS]
    for line, cells in rows:
        if len(cells) != len(header) or not all(cells[place].strip() for place in at):
            raise bad_input("not an id of an image and of a caption", file=file, key=f"line {line}",
                            value=separator.join(cells))  # fmt: skip
    return [(cells[at[0]].strip(), cells[at[1]].strip()) for _, cells in rows]


def listed_truth(file: Path, split: SplitView) -> Truth:
    """Own pairs and those that a file lists; its images and captions are the queries that are scored.

    Args:
        file: A table of :func:`table`, or JSON ``{image id: [caption ids]}``.
        split: The split.

    Raises:
        UserError: It cannot be read, or names what the split does not have.
    """
    if file.suffix.lower() == ".json":
        stored = read_json(file)
        check(stored, {ANY: [{str, int}]}, file)
        pairs = [(image, caption) for image, captions in stored.items() for caption in captions]
        if not pairs:
            raise bad_input("lists no pair", file=file)
    else:
        pairs = table(file)
    placed = [places(part, names(split, what), what, file)
              for part, what in zip(zip(*pairs, strict=True), ("images", "captions"), strict=True)]  # fmt: skip
    listed = np.stack(placed, axis=1)
    images, captions = (np.unique(part).astype(np.int32) for part in placed)
    return Truth("judged", sorted_pairs(np.concatenate([own_truth(split).pairs, listed])), images, captions)


def judged_truth(files: Mapping[str, Path], split: SplitView, truth: Truth) -> Truth:
    """What people judged of a split, in the formats of Flickr8k; see :mod:`fne.data.human_annotations`."""
    counts = np.bincount(split.caption_image, minlength=len(split.image_ids)).tolist()
    images = list(zip(split.image_ids, counts, strict=True))
    return annotated_truth(read_judgements(files, dict(images)), images, truth)


def _require_once(ids: Sequence[str], file: str | Path, what: str) -> None:
    if len(set(ids)) < len(ids):
        twice = next(name for name, group in groupby(sorted(ids)) if len([*group]) > 1)
        raise bad_input("occurs twice", file=file, key=what, value=twice)
