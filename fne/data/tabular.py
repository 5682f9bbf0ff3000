"""Reading annotation files: Karpathy's schema, JSON lists, JSON lines, tables, captions of Flickr and COCO.

A file either names the split of every row, or there is one file per split (``..._{split}.json``).

Source: the fields are those of Karpathy and Fei-Fei's ``dataset_{flickr8k,flickr30k,coco}.json`` (CVPR 2015), of the
retrieval files of ALBEF (Li et al. 2021), of the CSV beside the pictures of ``nlphuji/flickr30k``, of Flickr's
``*.token``, of Kaggle's ``captions.txt`` and ``results.csv``, of COCO's ``captions_*.json`` and of the ``metadata``
files of https://huggingface.co/docs/datasets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fne.data.items import Record, caption_id, image_file, split_of, text_of
from fne.data.text_files import SEPARATORS, lines_of, read_rows, read_text
from fne.utils.errors import bad_input
from fne.utils.files import parse_json

KEY = "data.annotations"
IMAGE = ("image", "filename", "file_name", "image_name")
CAPTION = ("caption", "captions", "sentences", "sentences_raw", "raw", "text", "comment")
IMAGE_ID = ("image_id", "img_id", "imgid")
"""Names that a field may have, the first that is there counts."""
SEVERAL = re.compile(r"(?:captions?|text)_\d{1,4}")
"""Names of several columns of captions."""
FORMATS = (
    "one JSON object in Karpathy's schema, a JSON list or JSON lines of {image, caption}, a table (.csv, .tsv, .txt), "
    "Flickr's .token, COCO's captions_{split}.json, a Hugging Face datasets folder"
)
WORDS = "tokens"
"""The key of a caption's words in Karpathy's schema: most of such a file, and not read."""
NO_SPLIT = (
    "name it in a field `split`, or give one file per split: data.annotations=..._{split}.json; Karpathy's "
    "dataset_{flickr8k,flickr30k,coco}.json name them"
)
CUSTOM = "custom"
"""The name of any corpus of a user's own: its file may name itself as it likes."""
_TOKEN = re.compile(r"([^\t]+)#(\d{1,18})\t(.*)", re.ASCII | re.DOTALL)


def read(path: Path, dataset: str, split: str | None) -> Iterator[Record]:
    """Read one file of annotations in whichever form it has, by its suffix and beginning.

    Args:
        path: The file.
        dataset: The name the configuration gives the corpus; a file in Karpathy's schema that names itself must
            agree, except with :data:`CUSTOM`.
        split: The split the whole file belongs to; None where it names that of each image.

    Raises:
        UserError: The first thing that cannot be used, with file, place and value.
    """
    rows = _rows(path, read_text(path, KEY), dataset)
    records = (to_record(path, where, row, split) for where, row in rows)
    first = next(records, None)
    if first is None:
        raise bad_input("holds no pair", file=path, key=KEY, allowed=FORMATS)
    yield first
    yield from records


def _rows(path: Path, text: str, dataset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and fields of each row."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        numbered = ((f"line {number}", line) for number, line in enumerate(lines_of(text), 1) if line.strip())
        return _entries(path, ((where, parse_json(line, path, where)) for where, line in numbered))
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        stored = parse_json(text, path, without=WORDS)
        if isinstance(stored, dict) and isinstance(stored.get("annotations"), list):
            return _coco(path, stored)
        images = stored.get("images") if isinstance(stored, dict) else stored
        if not isinstance(images, list):
            raise bad_input("not annotations of a known format", file=path, key=KEY, allowed=FORMATS)
        if images is stored:
            return _entries(path, ((f"[{number}]", entry) for number, entry in enumerate(images)))
        if dataset != CUSTOM and stored.get("dataset", dataset) != dataset:
            at = {"file": path, "key": "dataset", "value": stored["dataset"]}
            raise bad_input("names another data set", **at, allowed=[dataset])
        return _karpathy(path, images)
    if _TOKEN.fullmatch(text.lstrip().partition("\n")[0]):
        return _token(path, text)
    return _table(path, text)


def _entries(path: Path, entries: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects ``{image, caption[, image_id][, split]}``; a caption is a text or a list of texts."""
    for where, entry in entries:
        if not isinstance(entry, dict):
            raise bad_input("not an entry", file=path, key=where, value=entry, allowed="{image: ..., caption: ...}")
        yield where, entry


def _karpathy(path: Path, images: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One entry per image, its captions in ``sentences``."""
    seen: set[tuple[Any, Any]] = set()
    for where, image in _entries(path, ((f"images[{number}]", entry) for number, entry in enumerate(images))):
        name = str(image.get("filepath")), str(image.get("filename"))
        if name in seen:
            raise bad_input("occurs twice", file=path, key=f"{where}.filename", value=image.get("filename"))
        seen.add(name)
        for sentence in image["sentences"] if isinstance(image.get("sentences"), list) else ():
            if isinstance(sentence, dict) and sentence.get("imgid", image.get("imgid")) != image.get("imgid"):
                at = {"file": path, "key": f"{where}.sentences", "value": sentence["imgid"]}
                raise bad_input("a caption belongs to another image", **at, allowed=[image.get("imgid")])
        yield where, image


def _table(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A table with a header; columns ``raw`` and ``sentids`` hold JSON lists."""
    first = re.match(r"[^\r\n]*", text.lstrip("\r\n"))
    separator = max(SEPARATORS, key=first[0].count if first else len)
    (line, header), *rows = read_rows(text, separator, path) or [(1, [""])]
    header = [name.strip() for name in header]
    check_columns(header, path, f"line {line}")
    for number, cells in rows:
        where = f"line {number}"
        if len(cells) != len(header):
            hint = "a caption with the separator in it must be quoted"
            raise bad_input(f"{len(cells)} cells under {len(header)} columns", file=path, key=where, hint=hint)
        row: dict[str, Any] = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        for column in {"raw", "sentids"} & set(row):
            row[column] = parse_json(row[column], path, f"{where}.{column}")
        yield where, row


def _token(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines ``image#k TAB caption``, as Flickr8k and Flickr30K give out their captions."""
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        match = _TOKEN.fullmatch(line)
        if not match:
            raise bad_input("malformed line", file=path, key=f"line {number}", value=line[:80],
                            allowed="image#k TAB caption")  # fmt: skip
        yield f"line {number}", {"image": match[1], "caption": match[3]}


def _coco(path: Path, stored: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """COCO's own ``captions_*.json``: images, and annotations that name the image by its id."""
    images = stored["images"] if isinstance(stored.get("images"), list) else []
    entries = [image for image in images if isinstance(image, dict) and type(image.get("id")) is int]
    names = {image["id"]: image.get("file_name") for image in entries}
    for number, entry in enumerate(stored["annotations"]):
        where = f"annotations[{number}]"
        owner = entry.get("image_id") if isinstance(entry, dict) else None
        if type(owner) is not int or owner not in names:
            raise bad_input("belongs to none of the images", file=path, key=where, value=entry)
        ids = {"sentids": [entry.get("id")], "image_id": owner}
        yield where, {"image": names[owner], "caption": entry.get("caption"), **ids}


def check_columns(names: Sequence[str], path: Path, where: str) -> None:
    """Refuse two columns of one name, and a table without images or without captions.

    Raises:
        UserError: Lists the columns.
    """
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise bad_input("two columns have one name", file=path, key=where, value=twice, hint="rename or remove one")
    pick(names, IMAGE, path, where, "the image")
    if not several_in(names):
        pick(names, CAPTION, path, where, "the caption")


def several_in(fields: Iterable[str]) -> list[str]:
    """The columns of captions that are named ``caption_0``, ``caption_1``, ... by their numbers."""
    return sorted(filter(SEVERAL.fullmatch, fields), key=lambda name: int(name.rpartition("_")[2]))


def pick(fields: Iterable[str], names: Sequence[str], path: Path, where: str, what: str) -> str:
    """The first of ``names`` among the fields.

    Raises:
        UserError: None is there; lists the fields that are.
    """
    fields = list(fields)
    result = next((name for name in names if name in fields), None)
    if result is None:
        raise bad_input(f"no field holds {what}", file=path, key=where, value=", ".join(fields)[:200],
                        allowed=names, hint="rename the field that does")  # fmt: skip
    return result


def to_record(path: Path, where: str, row: Mapping[str, Any], split: str | None) -> Record:
    """Check one row.

    Args:
        path, where: File and row, for messages.
        row: The values by field.
        split: The split of the whole file, or None.

    Raises:
        UserError: A field is missing, a caption is empty, a path leads out of the folder of images, or the split
            is not known or not that of the file.
    """
    image = pick(row, IMAGE, path, where, "the image")
    file = image_file(row[image], path, f"{where}.{image}", row.get("filepath"))
    several = [] if any(name in row for name in CAPTION) else several_in(row)
    column = several[0] if several else pick(row, CAPTION, path, where, "the caption")
    # An image may have fewer captions than there are columns.
    texts = [row[name] for name in several if row[name] not in ("", None)] if several else row[column]
    texts = texts if isinstance(texts, list) else [texts]
    if not texts:
        raise bad_input(f"image {file} has no caption", file=path, key=f"{where}.{column}")
    sentids = row.get("sentids")
    if all(isinstance(text, dict) for text in texts):
        sentids = [text.get("sentid") for text in texts]
        texts = [text.get("raw") for text in texts]
    captions = [text_of(text, path, f"{where}.{column}[{number}]") for number, text in enumerate(texts)]
    if not isinstance(sentids, list) or len(sentids) != len(captions) or None in sentids:
        sentids = None
    named = split_of(row["split"], file, path, f"{where}.split") if "split" in row else split
    if named is None:
        raise bad_input(f"{file} has no split", file=path, key=where, hint=NO_SPLIT)
    if split is not None and named != split:
        raise bad_input(f"the file of split {split!r} holds an image of another", file=path,
                        key=f"{where}.split", value=row["split"], allowed=[split])  # fmt: skip
    identity = next((row[name] for name in IMAGE_ID if name in row), None)
    ids = None if sentids is None else [caption_id(item, path, f"{where}.sentids") for item in sentids]
    return Record((path, where), file, named, captions, ids, identity)
