"""Preparing a corpus of photographs: recognise and read its annotations, check everything, write the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fne.data import arrow, coco_relevance, cxc_sits, pictures, tabular
from fne.data.human_annotations import annotated_truth, read_judgements
from fne.data.images import verify_images
from fne.data.items import Item, by_split, check_counts, equal_captions, to_items, view_of
from fne.data.manifest import SPLITS
from fne.data.ranked_captions import first_captions
from fne.data.sources import SOURCES, annotation_files
from fne.data.truth import Truth
from fne.data.writing import staging, write_prepared
from fne.utils.errors import bad_input
from fne.utils.files import expanded


def run(data: dict[str, Any], folder: Path) -> None:
    """Check a corpus completely, then write its manifest and truth into ``folder``; pictures stay where
    they are, except those inside a Hugging Face data set, which are written into ``folder/images``.

    Args:
        data: ``{dataset, annotations, images, judgements: {crowdflower, expert}, counts}``.
        folder: The prepared data set's folder; its name is the ``data_id``.

    Raises:
        UserError: Anything in the files cannot be used; nothing was written.
    """
    if not data["annotations"]:
        raise _required("annotations")
    annotations = expanded(data["annotations"])
    items, inside = read_annotations(annotations, data["dataset"])
    if not inside and not data["images"]:
        raise _required("images")
    check_counts(items, data["counts"], annotations)
    files = [item.file for item in items]
    truths = known_truths(items, data["judgements"] or {}, annotations)
    source = SOURCES.get(data["dataset"])
    where = f"to get them: {source.pictures}" if source else None
    if not inside:
        root = expanded(data["images"])
        before = pictures.stamps(root, files)
        digests, place = verify_images(root, files, where), str(root.resolve())
        if (before != pictures.stamps(root, files)).any():
            raise bad_input("pictures changed while they were read", file=root, hint="run `fne prepare` again")
    with staging(folder) as temporary:
        if inside:
            (temporary / "images").mkdir()
            arrow.write_pictures(annotations, items, temporary / "images")
            digests, place = verify_images(temporary / "images", files), "images"
        else:
            pictures.write(temporary / pictures.NAME, before, digests)
        write_prepared(temporary, folder, data, place, items, truths, pictures.together(digests))


def _required(key: str) -> Exception:
    return bad_input("not given", key=f"data.{key}", hint=f"set it, e.g. `--set data.{key}=PATH`")


def read_annotations(path: Path, dataset: str) -> tuple[list[Item], bool]:
    """Read the annotations of a corpus, in whichever of :data:`fne.data.tabular.FORMATS` they are.

    Args:
        path: A file, a folder of a Hugging Face data set, or one file per split with ``{split}`` in its name.
        dataset: The name the configuration gives the corpus.

    Returns:
        All images, grouped as train, val, test, in the file's order within a split, and whether the pictures are
        inside the annotations.

    Raises:
        UserError: The first thing that cannot be used, with file, key and value.
    """
    inside = False
    if path.is_dir() or path.suffix.lower() in arrow.SUFFIXES:
        records, inside = arrow.read(path)
    elif "{split}" in path.name:
        parts = zip(annotation_files(str(path)), SPLITS, strict=True)
        records = (record for part, split in parts for record in tabular.read(part, dataset, split))
    else:
        records = tabular.read(path, dataset, None)
    return by_split(to_items(records), path), inside


def known_truths(
    items: list[Item], judgements: Mapping[str, str | None], annotations: Path | None = None
) -> dict[str, Truth]:
    """What is known to be relevant in every split: equal captions, and what people judged of the test split.

    Raises:
        UserError: A judgement file cannot be used.
    """
    truths: dict[str, Truth] = {split: equal_captions(items, split, annotations) for split in SPLITS}
    paths = {name: path for name, path in judgements.items() if path}
    if paths:
        test = [(item.filename, len(item.captions)) for item in items if item.split == "test"]
        annotated = read_judgements(paths, {item.filename: len(item.captions) for item in items})
        truths["test"] = annotated_truth(annotated, test, truths["test"])
    return truths


def require_matched(data: Mapping[str, Any], relevance: Mapping[str, str | Path], ratings: str | Path | None) -> None:
    """Refuse relevance and rating files that are not about the corpus, as what ranks and calibrates would in the end.

    Args:
        data: The ``data`` section.
        relevance: Protocol -> folder of its files.
        ratings: Folder of the ratings of Crisscrossed Captions, or None.

    Raises:
        UserError: A file cannot be used with the corpus, or the corpus cannot be read.
    """
    items, _ = read_annotations(expanded(data["annotations"]), data["dataset"])
    nobody = np.zeros(0, np.int32)
    bare = Truth("equal_captions", nobody.reshape(0, 2), nobody, nobody)
    test, *_ = first_captions(data["dataset"], view_of(items, "test"), bare)
    for protocol, folder in relevance.items():
        coco_relevance.read(folder, protocol, test)
    if ratings is not None:
        for view in (view_of(items, "val"), test):
            cxc_sits.known({"audit": {"sits": ratings, "sits_match": cxc_sits.HIGHEST}}, view, bare)
