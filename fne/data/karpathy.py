"""Corpora in the schema of Karpathy's split files: Flickr8k, Flickr30K, COCO, or a user's own."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fne.data.images import verify_images
from fne.data.judgements import SOURCES, judged_truth, read_judgements
from fne.data.manifest import SPLITS
from fne.data.truth import Truth, sorted_pairs
from fne.data.writing import Corpus, staging, write_prepared
from fne.errors import bad_input
from fne.files import read_json

SPLIT_OF = {"train": "train", "restval": "train", "val": "val", "test": "test"}
"""COCO's ``restval`` images are training images, as in every paper that uses the Karpathy split."""

CUSTOM = "custom"
"""The name of any corpus of a user's own: its file may name itself as it likes."""


@dataclass(frozen=True)
class Item:
    """One image with its captions, in caption order."""

    filename: str
    file: str
    split: str
    captions: list[str]


def run(data: dict[str, Any], folder: Path) -> None:
    """Check a corpus completely, then write its manifest and truth into ``folder``; pictures stay where
    they are.

    Args:
        data: ``{dataset, annotations, images, judgements: {crowdflower, expert}, counts}``.
        folder: The prepared data set's folder; its name is the ``data_id``.

    Raises:
        UserError: Anything in the files cannot be used; nothing was written.
    """
    for key in ("annotations", "images"):
        if not data[key]:
            raise bad_input("not given", key=f"data.{key}", hint=f"set it, e.g. `--set data.{key}=PATH`")
    annotations, root = Path(data["annotations"]), Path(data["images"])
    items = read_annotations(annotations, data["dataset"])
    check_counts(items, data["counts"], annotations)
    corpus = to_corpus(items)
    truths = {split: equal_captions(items, split) for split in SPLITS}
    judgements = data["judgements"] or {}
    for name in judgements:
        if name not in SOURCES:
            raise bad_input("unknown kind of judgements", key="data.judgements", value=name, allowed=SOURCES)
    paths = {name: path for name, path in judgements.items() if path}
    if paths:
        test = [item for item in items if item.split == "test"]
        known = {item.filename: len(item.captions) for item in items}
        judged = read_judgements(paths, known)
        truths["test"] = judged_truth(
            judged, [(item.filename, len(item.captions)) for item in test], truths["test"]
        )
    pixels = verify_images(root, corpus.image_files)
    with staging(folder) as temporary:
        write_prepared(temporary, folder, data, str(root.resolve()), corpus, truths, pixels)


def read_annotations(path: Path, dataset: str) -> list[Item]:
    """Read and check a ``dataset_<name>.json``.

    Args:
        path: The file.
        dataset: The name the configuration gives the corpus; a file that names itself must agree, except with
            :data:`CUSTOM`.

    Returns:
        All images, grouped as train, val, test, in the file's order within a split.

    Raises:
        UserError: The first thing that cannot be used, with file, key and value.
    """
    try:
        stored = read_json(path)
    except PermissionError:
        raise bad_input("no permission to read it", file=path, key="data.annotations") from None
    except IsADirectoryError:
        raise bad_input("is a folder, not a file", file=path, key="data.annotations") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("images"), list) or not stored["images"]:
        raise bad_input("not in Karpathy's schema", file=path, key="images", allowed="a list of images")
    if dataset != CUSTOM and stored.get("dataset", dataset) != dataset:
        raise bad_input(
            "names another data set", file=path, key="dataset", value=stored["dataset"], allowed=[dataset]
        )
    seen = _Seen(path)
    ids = [image.get("imgid") for image in stored["images"] if isinstance(image, dict)]
    items = [_item(path, number, image, seen, ids) for number, image in enumerate(stored["images"])]
    for split in SPLITS:
        if not any(item.split == split for item in items):
            raise bad_input("a split has no image", file=path, key="split", value=split)
    return sorted(items, key=lambda item: SPLITS.index(item.split))


class _Seen:
    """Values that may occur once only, and where they did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[tuple[str, str], str] = {}

    def once(self, key: str, value: Any, place: str) -> None:
        """Refuse a value of ``key`` that occurred before."""
        first = self.places.setdefault((key, repr(value)), place)
        if first != place:
            raise bad_input(
                f"occurs twice, first in {first}", file=self.path, key=f"{place}.{key}", value=value
            )


def _item(path: Path, number: int, image: Any, seen: _Seen, ids: list[Any]) -> Item:
    where = f"images[{number}]"
    if not isinstance(image, dict):
        raise bad_input("not an image entry", file=path, key=where, value=image)
    name, split = image.get("filename"), image.get("split")
    if not isinstance(name, str) or not name:
        raise bad_input("no file name", file=path, key=f"{where}.filename", value=name)
    seen.once("filename", name, where)
    if "imgid" in image:
        seen.once("imgid", image["imgid"], where)
    if not isinstance(split, str) or split not in SPLIT_OF:
        raise bad_input(
            f"wrong split of {name}", file=path, key=f"{where}.split", value=split, allowed=SPLIT_OF
        )
    file = PurePosixPath(str(image.get("filepath") or ""), name)
    if file.is_absolute() or ".." in file.parts:
        raise bad_input("leaves the images folder", file=path, key=f"{where}.filename", value=str(file))
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise bad_input(f"image {name} has no caption", file=path, key=f"{where}.sentences", value=sentences)
    captions = []
    for position, sentence in enumerate(sentences):
        place = f"{where}.sentences[{position}]"
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(raw, str):
            raise bad_input("not a caption", file=path, key=f"{place}.raw", value=raw, allowed="text")
        if not raw.strip():
            raise bad_input(f"empty caption of {name}", file=path, key=f"{place}.raw", value=raw)
        owner = sentence.get("imgid", image.get("imgid"))
        if owner != image.get("imgid"):
            problem = f"caption listed under {name} " + (
                "belongs to another image" if owner in ids else "has no image"
            )
            raise bad_input(
                problem, file=path, key=f"{place}.imgid", value=owner, allowed=[image.get("imgid")]
            )
        if "sentid" in sentence:
            seen.once("sentid", sentence["sentid"], place)
        captions.append(raw.strip())
    return Item(name, str(file), SPLIT_OF[split], captions)


def check_counts(items: list[Item], counts: dict[str, int] | None, path: Path) -> None:
    """Refuse a file whose splits do not hold the number of images the configuration states.

    Raises:
        UserError: Naming the split, what it holds and what it should hold.
    """
    for split, wanted in (counts or {}).items():
        if split not in SPLITS:
            raise bad_input("unknown split", key="data.counts", value=split, allowed=SPLITS)
        found = sum(item.split == split for item in items)
        if wanted is not None and found != wanted:
            raise bad_input(
                f"the {split} split has another number of images than data.counts.{split} states",
                file=path,
                key=split,
                value=found,
                allowed=[wanted],
            )


def to_corpus(items: list[Item]) -> Corpus:
    """The manifest's columns: an image's id is its file name, its k-th caption's id ``<file name>#k``."""
    return Corpus(
        [item.filename for item in items],
        [item.file for item in items],
        [item.split for item in items],
        [f"{item.filename}#{k}" for item in items for k in range(len(item.captions))],
        [row for row, item in enumerate(items) for _ in item.captions],
        [caption for item in items for caption in item.captions],
    )


def equal_captions(items: list[Item], split: str) -> Truth:
    """What can be proved from the texts alone: own pairs, and images of a split that share a caption.

    Two captions are equal when their lower-case runs of ``[a-z0-9]`` are. A lower bound of the truth, so no
    query may be scored by it.
    """
    chosen = [item for item in items if item.split == split]
    texts = [normalise(caption) for item in chosen for caption in item.captions]
    image = np.repeat(np.arange(len(chosen)), [len(item.captions) for item in chosen])
    groups: dict[str, list[int]] = defaultdict(list)
    for caption, text in enumerate(texts):
        groups[text].append(caption)
    pairs = [(int(image[one]), other) for group in groups.values() for one in group for other in group]
    nobody = np.zeros(0, np.int32)
    return Truth("equal_captions", sorted_pairs(np.array(pairs)), nobody, nobody)


def normalise(text: str) -> str:
    """Lower-case runs of ``[a-z0-9]`` joined by spaces; a text without any stays as it is."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower())) or text.strip()
