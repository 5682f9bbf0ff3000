"""Reading annotation files of rows: JSON lists, JSON lines, tables, the captions as Flickr and COCO give them out.

A file either names the split of every row, or there is one file per split (``..._{split}.json``).

Source: the fields are those of the retrieval files of ALBEF (Li et al. 2021), of the CSV beside the pictures of
``nlphuji/flickr30k``, of Flickr's ``*.token``, of Kaggle's ``captions.txt`` and ``results.csv``, of COCO's
``captions_*.json`` and of the ``metadata`` files of https://huggingface.co/docs/datasets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fne.data import karpathy
from fne.data.items import Record, caption_id, caption_text, image_file, split_of
from fne.data.text_files import SEPARATORS, lines_of, read_rows, read_text, to_id
from fne.utils.errors import UserError, bad_input
from fne.utils.files import parse_json

KEY = "data.annotations"
IMAGE = ("image", "filename", "file_name", "image_name")
CAPTION = ("caption", "captions", "sentences", "sentences_raw", "raw", "text", "comment")
IMAGE_ID = ("image_id", "img_id")
"""Names that a field may have, the first that is there counts."""
RENAME = "rename the field that does"
NUMBER = "comment_number"
"""A column that numbers the captions of an image."""
SEVERAL = re.compile(r"(?:captions?|text)_\d{1,4}")
"""Names of several columns of captions."""
FORMATS = (
    "one JSON object in Karpathy's schema, a JSON list or JSON lines of {image, caption}, a table (.csv, .tsv, .txt), "
    "Flickr's .token, COCO's captions_{split}.json, a Hugging Face datasets folder"
)
NO_SPLIT = "add a field `split`, or give one file per split: data.annotations=..._{split}.json"
_TOKEN = re.compile(r"([^\t]+)#(\d{1,18})\t(.*)", re.ASCII | re.DOTALL)


def form_of(path: Path, text: str) -> str:
    """The form of a file of annotations, by suffix and beginning: ``table``, ``token``, ``lines`` or ``json``."""
    suffix, text = path.suffix.lower(), text.lstrip()
    first, _, rest = text.partition("\n")
    if suffix in (".jsonl", ".ndjson") or (text[:1] == "{" and rest and not rest.isspace() and _is_object(first, path)):
        return "lines"
    if suffix == ".json" or (text[:1] in ("{", "[") and suffix not in (".csv", ".tsv")):
        return "json"
    return "token" if _TOKEN.fullmatch(first) else "table"


def _is_object(line: str, path: Path) -> bool:
    try:
        return isinstance(parse_json(line, path), dict)
    except UserError:
        return False


def read(path: Path, dataset: str, split: str | None) -> Iterator[Record]:
    """Read one file of annotations in whichever form it has.

    Args:
        path: The file.
        dataset: The name the configuration gives the corpus.
        split: The split the whole file belongs to; None where it names that of each image.

    Raises:
        UserError: The first thing that cannot be used, with file, place and value.
    """
    text = read_text(path, KEY)
    form = form_of(path, text)
    if form == "table":
        return _read_table(path, text, split)
    if form == "token":
        return _read_token(path, text, split)
    if form == "lines":
        numbered = [(f"line {number}", line) for number, line in enumerate(lines_of(text), 1) if line.strip()]
        entries = ((where, parse_json(line, path, line=int(where[5:]))) for where, line in numbered)
        return _read_entries(path, entries, split)
    stored = parse_json(text, path)
    if isinstance(stored, list):
        return _read_entries(path, ((f"[{number}]", entry) for number, entry in enumerate(stored)), split)
    if isinstance(stored, dict) and isinstance(stored.get("annotations"), list) and "images" in stored:
        return _read_coco(path, stored, split)
    if not isinstance(stored, dict):
        raise bad_input("not annotations of a known format", file=path, key=KEY, allowed=FORMATS)
    if split is not None:
        raise bad_input("one file per split is not in Karpathy's schema", file=path, key=KEY,
                        hint="a file in Karpathy's schema names its splits itself: give it alone")  # fmt: skip
    return karpathy.read(path, stored, dataset)


def _read_entries(path: Path, entries: Iterable[tuple[str, Any]], split: str | None) -> Iterator[Record]:
    """Objects ``{image, caption[, image_id][, split]}``; a caption is a text or a list of texts."""
    empty = True
    for where, entry in entries:
        if not isinstance(entry, dict):
            raise bad_input("not an entry", file=path, key=where, value=entry, allowed="{image: ..., caption: ...}")
        empty = False
        yield to_record(path, where, entry, split)
    if empty:
        raise bad_input("holds no pair", file=path, key=KEY)


def _read_table(path: Path, text: str, split: str | None) -> Iterator[Record]:
    """A table with a header; a column ``raw`` holds JSON lists of captions."""
    first = re.match(r"[^\r\n]*", text.lstrip("\r\n"))
    separator = max(SEPARATORS, key=first[0].count if first else len)
    line, header = (rows := read_rows(text, separator, path) or [(1, [""])])[0]
    header = [name.strip() for name in header]
    check_names(header, path, f"line {line}")
    rename = "the first line names the columns: rename the one that does"
    pick(header, IMAGE, path, f"line {line}", "the image", rename)
    if not several_in(header):
        pick(header, CAPTION, path, f"line {line}", "the caption", rename)
    counted: dict[str, int] = {}
    for number, cells in rows[1:]:
        where = f"line {number}"
        if len(cells) != len(header):
            more = len(cells) > len(header)
            hint = "a caption with the separator in it must be quoted" if more else "a separator is missing"
            raise bad_input(f"{len(cells)} cells under {len(header)} columns", file=path, key=where, hint=hint)
        if separator == "|":
            cells = [cell.strip() for cell in cells]
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        for column in {"raw", "sentids"} & set(row):
            row[column] = _json_list(row[column], path, number, column)
        record = to_record(path, where, row, split)
        if NUMBER in row:
            _check_number(record, row[NUMBER], counted)
        yield record
    if not rows[1:]:
        raise bad_input("holds no pair", file=path, key=KEY)


def _read_token(path: Path, text: str, split: str | None) -> Iterator[Record]:
    """Lines ``image#k TAB caption``, as Flickr8k and Flickr30K give out their captions."""
    if split is None:
        hint = "give Karpathy's dataset_flickr8k.json or dataset_flickr30k.json, which do; or one such file per split, "
        hint += f"{KEY}=..._{{split}}.token; or a table (.csv, .tsv) with a column `split`"
        raise bad_input("Flickr's own list of captions, which names no split", file=path, key=KEY, hint=hint)
    counted: dict[str, int] = {}
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        match = _TOKEN.fullmatch(line)
        if not match:
            raise bad_input("malformed line", file=path, key=f"line {number}", value=line[:80],
                            allowed="image#k TAB caption")  # fmt: skip
        record = to_record(path, f"line {number}", {"image": match[1], "caption": match[3]}, split)
        _check_number(record, match[2], counted)
        yield record


def _check_number(record: Record, number: str, counted: dict[str, int]) -> None:
    """Captions are known by their place among those of their image, so a file that numbers them must do it alike."""
    requested = counted.get(record.file, 0)
    if to_id(number.strip()) != requested:
        file, where = record.place
        raise bad_input(f"captions of {record.file} are not in the order of their numbers", file=file, key=where,
                        value=number[:20], allowed=[requested])  # fmt: skip
    counted[record.file] = requested + 1


def _read_coco(path: Path, stored: Mapping[str, Any], split: str | None) -> Iterator[Record]:
    """COCO's own ``captions_*.json``: images, and annotations that name the image by its id."""
    if split is None:
        hint = f"give Karpathy's dataset_coco.json, which does, or one such file per split: {KEY}="
        raise bad_input("COCO's own file of captions, which names no Karpathy split", file=path, key=KEY,
                        hint=hint + "captions_{split}2014.json")  # fmt: skip
    names: dict[Any, tuple[str, Any]] = {}
    for number, image in enumerate(stored["images"] if isinstance(stored["images"], list) else ()):
        where = f"images[{number}]"
        if not isinstance(image, dict) or type(image.get("id")) is not int:
            allowed = "{id: ..., file_name: ...}"
            raise bad_input("not an image entry", file=path, key=where, value=image, allowed=allowed)
        first, _ = names.setdefault(image["id"], (where, image.get("file_name")))
        if first != where:
            raise bad_input(f"occurs twice, first in {first}", file=path, key=f"{where}.id", value=image["id"])
    for number, entry in enumerate(stored["annotations"]):
        where = f"annotations[{number}]"
        if not isinstance(entry, dict) or type(entry.get("image_id")) is not int or entry["image_id"] not in names:
            raise bad_input("belongs to none of the images", file=path, key=where, value=entry)
        ids = {"sentids": [entry.get("id")], "image_id": entry["image_id"]}
        row = {"image": names[entry["image_id"]][1], "caption": entry.get("caption"), **ids}
        yield to_record(path, where, row, split)
    if bare := set(names) - {entry["image_id"] for entry in stored["annotations"]}:
        raise bad_input(f"{len(bare)} of {len(names)} images have no caption", file=path, key="images", value=min(bare))
    if not names:
        raise bad_input("holds no pair", file=path, key=KEY)


def _json_list(cell: str, path: Path, line: int, column: str) -> list[Any]:
    try:
        value = parse_json(cell, path, line=line)
    except UserError:
        value = None
    if not isinstance(value, list):
        raise bad_input("not a JSON list", file=path, key=f"line {line}.{column}", value=cell[:80])
    return value


def check_names(names: Sequence[str], path: Path, where: str) -> None:
    """Refuse two columns of one name.

    Raises:
        UserError: There are; which of them counts would be chance.
    """
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            raise bad_input("two columns have one name", file=path, key=where, value=name, hint="rename or remove one")
        seen.add(name)


def several_in(fields: Iterable[str]) -> list[str]:
    """The columns of captions that are named ``caption_0``, ``caption_1``, ... by their numbers."""
    return sorted(filter(SEVERAL.fullmatch, fields), key=lambda name: int(name.rpartition("_")[2]))


def pick(fields: Iterable[str], names: Sequence[str], path: Path, where: str, what: str, hint: str = RENAME) -> str:
    """The first of ``names`` among the fields.

    Raises:
        UserError: None is there; lists the fields that are.
    """
    fields = list(fields)
    result = next((name for name in names if name in fields), None)
    if result is None:
        raise bad_input(f"no field holds {what}", file=path, key=where, value=", ".join(fields)[:200],
                        allowed=names, hint=hint)  # fmt: skip
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
    captions = [caption_text(text, file, path, place) for place, text in _captions(path, where, row, file)]
    sentids = row.get("sentids")
    if isinstance(sentids, list) and len(sentids) == len(captions) and None not in sentids:
        sentids = [caption_id(item, path, f"{where}.sentids") for item in sentids]
    else:
        sentids = None
    named = split_of(row["split"], file, path, f"{where}.split") if "split" in row else split
    if named is None:
        raise bad_input(f"{file} has no split", file=path, key=where, hint=NO_SPLIT)
    if split is not None and named != split:
        raise bad_input(f"the file of split {split!r} holds an image of another", file=path,
                        key=f"{where}.split", value=row["split"], allowed=[split])  # fmt: skip
    identity = next((row[name] for name in IMAGE_ID if name in row), None)
    return Record((path, where), file, named, captions, sentids, identity)


def _captions(path: Path, where: str, row: Mapping[str, Any], file: str) -> list[tuple[str, Any]]:
    """Place and value of each caption of a row."""
    several = [] if any(name in row for name in CAPTION) else several_in(row)
    if several:  # an image may have fewer captions than there are columns
        column = several[0]
        captions = [(f"{where}.{name}", row[name]) for name in several if row[name] not in ("", None)]
    else:
        column = pick(row, CAPTION, path, where, "the caption")
        texts = row[column]
        if isinstance(texts, list):
            captions = [(f"{where}.{column}[{place}]", text) for place, text in enumerate(texts)]
        else:
            captions = [(f"{where}.{column}", texts)]
    if not captions:
        raise bad_input(f"image {file} has no caption", file=path, key=f"{where}.{column}")
    return captions
