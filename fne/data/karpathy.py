"""Reading split files in Karpathy's schema: one JSON object, its images with their split and sentences.

Source: Karpathy and Fei-Fei (2015), CVPR; the files ``dataset_{flickr8k,flickr30k,coco}.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fne.data.items import Record, caption_id, caption_text, image_file, split_of
from fne.utils.errors import bad_input

CUSTOM = "custom"
"""The name of any corpus of a user's own: its file may name itself as it likes."""


def read(path: Path, stored: Any, dataset: str) -> Iterator[Record]:
    """Check the content of a ``dataset_<name>.json``.

    Args:
        path: The file, for messages.
        stored: Its content.
        dataset: The name the configuration gives the corpus; a file that names itself must agree, except with
            :data:`CUSTOM`.

    Returns:
        All images, in the file's order.

    Raises:
        UserError: The first thing that cannot be used, with file, key and value.
    """
    if not isinstance(stored.get("images"), list) or not stored["images"]:
        raise bad_input("not in Karpathy's schema", file=path, key="images", allowed="a list of images")
    if dataset != CUSTOM and stored.get("dataset", dataset) != dataset:
        raise bad_input("names another data set", file=path, key="dataset", value=stored["dataset"], allowed=[dataset])
    seen = _Seen(path)
    ids = {repr(image.get("imgid")) for image in stored["images"] if isinstance(image, dict)}
    return (_record(path, number, image, seen, ids) for number, image in enumerate(stored["images"]))


class _Seen:
    """Values that may occur once only, and where they did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[tuple[str, str], str] = {}

    def once(self, key: str, value: Any, place: str) -> None:
        """Refuse a value of ``key`` that occurred before."""
        first = self.places.setdefault((key, repr(value)), place)
        if first != place:
            raise bad_input(f"occurs twice, first in {first}", file=self.path, key=f"{place}.{key}", value=value)


def _record(path: Path, number: int, image: Any, seen: _Seen, ids: set[str]) -> Record:
    where = f"images[{number}]"
    if not isinstance(image, dict):
        raise bad_input("not an image entry", file=path, key=where, value=image)
    name: Any = image.get("filename")
    file = image_file(name, path, f"{where}.filename", image.get("filepath"))
    seen.once("filename", file, where)
    if "imgid" in image:
        seen.once("imgid", image["imgid"], where)
    split = split_of(image.get("split"), name, path, f"{where}.split")
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        near = [key for key in image if key in ("caption", "captions", "raw", "sentence")]
        hint = f"its captions may lie in {near[0]!r}" if near else None
        raise bad_input(f"image {name} has no caption", file=path, key=f"{where}.sentences", value=sentences,
                        allowed="a list of {raw: text}", hint=hint)  # fmt: skip
    captions = []
    for position, sentence in enumerate(sentences):
        place = f"{where}.sentences[{position}]"
        raw: Any = sentence.get("raw") if isinstance(sentence, dict) else None
        captions.append(caption_text(raw, name, path, f"{place}.raw"))
        owner = sentence.get("imgid", image.get("imgid"))
        if owner != image.get("imgid"):
            problem = f"caption listed under {name} " + (
                "belongs to another image" if repr(owner) in ids else "has no image"
            )
            raise bad_input(problem, file=path, key=f"{place}.imgid", value=owner, allowed=[image.get("imgid")])
        if sentence.get("sentid") is not None:
            seen.once("sentid", caption_id(sentence["sentid"], path, f"{place}.sentid"), place)
    known = all(sentence.get("sentid") is not None for sentence in sentences)
    sentids = [item["sentid"] for item in sentences] if known else None
    return Record((path, where), file, split, captions, sentids, image.get("imgid"))
